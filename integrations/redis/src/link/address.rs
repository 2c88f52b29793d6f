//! Where the server is, and how to connect to it.

use super::nodes::Nodes;
use redis::{AsyncConnectionConfig, Client, ConnectionInfo, RedisResult};

/// Where the server is.
pub(crate) enum Address {
    One(ConnectionInfo),
    /// The master of that name, as sentinels tell it. The first connection information says how to
    /// log in there; its address is not used.
    #[cfg(feature = "sentinel")]
    Sentinels {
        login: ConnectionInfo,
        master: String,
        sentinels: Vec<ConnectionInfo>,
    },
    /// A cluster, one of whose nodes is at one of these addresses.
    #[cfg(feature = "cluster")]
    Cluster(Vec<ConnectionInfo>),
}

impl Address {
    /// Returns whether another server may take the place of the present one.
    pub(crate) fn may_move(&self) -> bool {
        !matches!(self, Self::One(_))
    }

    pub(super) async fn connect(&self, config: &AsyncConnectionConfig) -> RedisResult<Nodes> {
        let client = match self {
            Self::One(server) => Client::open(server.clone())?,
            #[cfg(feature = "sentinel")]
            Self::Sentinels { login, master, sentinels } => master_of(login, master, sentinels).await?,
            #[cfg(feature = "cluster")]
            Self::Cluster(seeds) => return super::cluster::connect(seeds, config).await,
        };
        Ok(Nodes::one(client.get_multiplexed_async_connection_with_config(config).await?))
    }
}

/// Asks the sentinels for the present master.
#[cfg(feature = "sentinel")]
async fn master_of(login: &ConnectionInfo, master: &str, sentinels: &[ConnectionInfo]) -> RedisResult<Client> {
    use redis::sentinel::{Sentinel, SentinelNodeConnectionInfo};
    use redis::{ConnectionAddr, TlsMode};
    let mut node = SentinelNodeConnectionInfo::default()
        .set_redis_connection_info(login.redis_settings().clone())
        .set_tcp_settings(login.tcp_settings().clone());
    if let ConnectionAddr::TcpTls { insecure, .. } = login.addr() {
        node = node.set_tls_mode(if *insecure { TlsMode::Insecure } else { TlsMode::Secure });
    }
    let mut all = Sentinel::build(sentinels.to_vec())?;
    all.async_master_for(master, Some(&node)).await
}
