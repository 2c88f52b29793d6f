//! What a call costs in round trips and in commands, counted exactly. The time of a round trip is
//! the network's; these numbers are the crate's.

use crate::support::proxy::Proxy;
use crate::support::source::Source;
use crate::support::*;
use bellwether::{Loaded, Refresh};
use std::collections::BTreeMap;

/// A tier behind a proxy that counts; no heartbeat comes in between.
struct Counted {
    tier: Texts,
    proxy: Proxy,
    conn: redis::aio::MultiplexedConnection,
}

/// Round trips, and the commands that clients have sent.
type Cost = (u64, BTreeMap<String, u64>);

impl Counted {
    async fn new(server: &server::Server) -> Self {
        Self::with(server, |builder| builder).await
    }

    async fn with(
        server: &server::Server,
        set: impl FnOnce(bellwether_redis::Builder<String, String>) -> bellwether_redis::Builder<String, String>,
    ) -> Self {
        let proxy = Proxy::to(server.port()).await;
        let quiet = builder(&proxy.url()).heartbeat(MINUTE, MINUTE);
        let tier = up(set(quiet).stale_while_refresh(MINUTE)).await;
        Self { tier, proxy, conn: server.connection().await }
    }

    /// The commands that clients have sent so far. A script's own are not among them: each script
    /// here takes the time once, and sends none of these.
    async fn commands(&mut self) -> BTreeMap<String, u64> {
        let info: String = redis::cmd("INFO").arg("commandstats").query_async(&mut self.conn).await.unwrap();
        let calls = info.lines().filter_map(|line| {
            let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
            Some((name.to_owned(), rest.split(',').next()?.parse().ok()?))
        });
        calls
            .filter(|(name, _)| matches!(&**name, "evalsha" | "eval" | "ping" | "subscribe" | "client|tracking"))
            .collect()
    }

    /// Runs a call, and returns what it has cost.
    async fn cost<T>(&mut self, call: impl AsyncFnOnce(&Texts) -> T) -> Cost {
        let (trips, before) = (self.proxy.round_trips(), self.commands().await);
        call(&self.tier).await;
        let trips = self.proxy.round_trips() - trips;
        let mut commands = self.commands().await;
        for (name, number) in before {
            *commands.get_mut(&name).unwrap() -= number;
        }
        commands.retain(|_, number| *number > 0);
        (trips, commands)
    }
}

fn scripts(number: u64) -> Cost {
    (number, BTreeMap::from([("evalsha".to_owned(), number)]))
}

const NOTHING: Cost = (0, BTreeMap::new());

async fn get(tier: &Texts, source: &Source, key: &str) -> String {
    tier.try_get_with_async(key, || source.load(key)).await.unwrap()
}

#[test]
fn a_hit_costs_none_a_shared_hit_one_and_a_load_two() {
    with_server(|server| async move {
        let (mut a, mut b, source) = (Counted::new(&server).await, Counted::new(&server).await, Source::new());
        let cold = a.cost(async |tier| get(tier, &source, "k").await).await;
        assert_eq!(cold, scripts(2), "asked, and published");
        let memory = a.cost(async |tier| get(tier, &source, "k").await).await;
        assert_eq!(memory, NOTHING);
        assert_eq!(a.cost(async |tier| tier.get("k")).await, NOTHING);
        let shared = b.cost(async |tier| get(tier, &source, "k").await).await;
        assert_eq!(shared, scripts(1));
        assert_eq!(b.cost(async |tier| get(tier, &source, "k").await).await, NOTHING);
        assert_eq!(source.loads(), 1);
    });
}

#[test]
fn a_refresh_costs_two_and_so_does_a_renewal_and_a_failure() {
    with_server(|server| async move {
        let early = |builder: bellwether_redis::Builder<String, String>| {
            builder.memory(|memory| memory.refresh(Refresh::at(0.0)))
        };
        let (mut tier, source) = (Counted::with(&server, early).await, Source::new());
        let renew = async |tier: &Texts| {
            let same = |old: Option<String>| async move {
                Ok::<_, String>(old.map_or(Loaded::NotFound, |_| Loaded::NotModified))
            };
            drop(tier.entry("k").force().revalidate_with_async(same).await);
        };
        get(&tier.tier, &source, "k").await;
        source.fail(true);
        assert_eq!(
            tier.cost(async |tier| tier.try_get_with_async("none", || source.load("none")).await).await,
            scripts(2)
        );
        source.fail(false);
        assert_eq!(tier.cost(async |tier| get(tier, &source, "k").await).await, scripts(2));
        assert_eq!(tier.cost(renew).await, scripts(2));
        assert_eq!(tier.cost(async |tier| tier.insert("k".into(), "v".into()).await.unwrap()).await.0, 1);
        assert_eq!(tier.cost(async |tier| tier.invalidate("k").await.unwrap()).await, (1, BTreeMap::new()), "a DEL");
    });
}

#[test]
fn a_bulk_read_costs_two_however_many_keys_there_are() {
    with_server(|server| async move {
        let (mut a, mut b) = (Counted::new(&server).await, Counted::new(&server).await);
        let keys: Vec<String> = (0..10).map(|key| format!("key{key}")).collect();
        let read = async |tier: &Texts| {
            let load = |keys: Vec<String>| async move {
                Ok::<_, String>(keys.into_iter().map(|key| (key.clone(), key)).collect())
            };
            let got = tier.try_get_many_with_async(&keys, load).await;
            assert!(got.iter().zip(&keys).all(|(got, key)| got.as_ref().unwrap() == key));
        };
        let of = |trips: u64, evalsha: u64| {
            (trips, BTreeMap::from([("eval".to_owned(), trips), ("evalsha".to_owned(), evalsha)]))
        };
        assert_eq!(a.cost(read).await, of(2, 18), "asked for all, and published all");
        assert_eq!(b.cost(read).await, of(1, 9));
        assert_eq!(b.cost(read).await, NOTHING);
    });
}
