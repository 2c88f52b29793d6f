//! Connecting to a cluster: one connection of our own to each of its masters.
//!
//! The client's own cluster connection cannot serve here. It connects anew to a node, and follows a
//! slot to another one, without telling; the server then tracks nothing by that connection, and
//! memory would hear of no change.

use super::nodes::Nodes;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, RedisError, RedisResult, Value};

pub(super) const SLOTS: usize = 16384;

/// Returns the slot of a key: of its part in braces, if it has one that is not empty.
pub(super) fn slot(name: &[u8]) -> usize {
    let tag = name.iter().position(|&byte| byte == b'{').and_then(|open| {
        let rest = &name[open + 1..];
        let length = rest.iter().position(|&byte| byte == b'}').filter(|&length| length > 0)?;
        Some(&rest[..length])
    });
    usize::from(crc16::State::<crc16::XMODEM>::calculate(tag.unwrap_or(name))) % SLOTS
}

/// Connects to all masters of the cluster. The first seed that answers tells them.
pub(super) async fn connect(seeds: &[ConnectionInfo], config: &AsyncConnectionConfig) -> RedisResult<Nodes> {
    let mut failed = no_answer("there is no address of a cluster");
    for seed in seeds {
        match connect_by(seed, config).await {
            Ok(nodes) => return Ok(nodes),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

fn no_answer(why: &'static str) -> RedisError {
    (redis::ErrorKind::Client, why).into()
}

async fn connect_by(seed: &ConnectionInfo, config: &AsyncConnectionConfig) -> RedisResult<Nodes> {
    // Without a receiver of pushes: this connection is closed when it has told the masters.
    let plain = AsyncConnectionConfig::new();
    let mut conn = Client::open(seed.clone())?.get_multiplexed_async_connection_with_config(&plain).await?;
    let ranges: Vec<Vec<Value>> = redis::cmd("CLUSTER").arg("SLOTS").query_async(&mut conn).await?;
    let mut masters: Vec<(String, u16)> = Vec::new();
    let mut slots = vec![u16::MAX; SLOTS].into_boxed_slice();
    for range in ranges {
        let (first, last, master) = parse(range, seed)?;
        let place = masters.iter().position(|known| *known == master).unwrap_or_else(|| {
            masters.push(master);
            masters.len() - 1
        });
        let part = slots.get_mut(first..=last).ok_or_else(|| no_answer("a slot that no cluster has"))?;
        part.fill(place as u16);
    }
    if slots.contains(&u16::MAX) {
        return Err(no_answer("the cluster has no master for some slots"));
    }
    let mut conns = Vec::new();
    for (host, port) in masters {
        conns.push(to_node(seed, (host, port), config).await?);
    }
    Ok(Nodes::cluster(conns, slots))
}

/// Reads one answer of CLUSTER SLOTS: the first and last slot, and the master's host and port.
fn parse(range: Vec<Value>, seed: &ConnectionInfo) -> RedisResult<(usize, usize, (String, u16))> {
    let mut parts = range.into_iter();
    let mut next = || parts.next().ok_or_else(|| no_answer("an answer that CLUSTER SLOTS does not have"));
    let (first, last): (usize, usize) = (redis::from_redis_value(next()?)?, redis::from_redis_value(next()?)?);
    let master: Vec<Value> = redis::from_redis_value(next()?)?;
    let mut master = master.into_iter();
    let host: Option<String> = redis::from_redis_value(master.next().unwrap_or(Value::Nil))?;
    let port: u16 = redis::from_redis_value(master.next().unwrap_or(Value::Nil))?;
    // A node that does not know its own address is where it was asked.
    let own = || match seed.addr() {
        ConnectionAddr::Tcp(host, _) | ConnectionAddr::TcpTls { host, .. } => host.clone(),
        _ => String::new(),
    };
    Ok((first, last, (host.filter(|host| !host.is_empty()).unwrap_or_else(own), port)))
}

async fn to_node(
    seed: &ConnectionInfo,
    (host, port): (String, u16),
    config: &AsyncConnectionConfig,
) -> RedisResult<MultiplexedConnection> {
    let addr = match seed.addr() {
        ConnectionAddr::TcpTls { insecure, tls_params, .. } => {
            ConnectionAddr::TcpTls { host, port, insecure: *insecure, tls_params: tls_params.clone() }
        }
        _ => ConnectionAddr::Tcp(host, port),
    };
    let client = Client::open(seed.clone().set_addr(addr))?;
    client.get_multiplexed_async_connection_with_config(config).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_the_servers() {
        // As `CLUSTER KEYSLOT` tells them.
        assert_eq!((slot(b"foo"), slot(b"bar"), slot(b"")), (12182, 5061, 0));
        assert_eq!(slot(b"a{foo}b"), slot(b"foo"));
        assert_eq!(slot(b"ns:g:{k:foo}"), slot(b"ns:g:{k:foo}:f"));
        assert_ne!(slot(b"a{}{foo}"), slot(b"foo"), "the first braces are empty, so all of it counts");
    }
}
