//! Settings, codecs and values that cannot be read.

use crate::support::source::Source;
use crate::support::*;
use bellwether_redis::{BuildError, Codec, CodecError, Held, Tier};
use std::time::Duration;

/// Text with a mark in front, and an error without it.
struct Marked;

impl Codec<String> for Marked {
    const ID: u8 = 200;
    fn encode(&self, value: &String) -> Result<Vec<u8>, CodecError> {
        if value == "unwritable" { Err("it cannot be written".into()) } else { Ok(format!("!{value}").into_bytes()) }
    }
    fn decode(&self, bytes: &[u8]) -> Result<String, CodecError> {
        match std::str::from_utf8(bytes)?.strip_prefix('!') {
            Some("poison") => panic!("the decoder panics"),
            Some(text) => Ok(text.to_owned()),
            None => Err("no mark".into()),
        }
    }
}

async fn get(tier: &Texts, source: &Source, key: &str) -> String {
    tier.try_get_with_async(key, || source.load(key)).await.unwrap()
}

#[test]
fn what_cannot_be_decoded_is_a_miss_and_replaced() {
    with_server(|server| async move {
        let marked = || Tier::builder_with(&server.url(), Marked).unwrap().namespace("test").time_to_live(MINUTE);
        let (plain, newer) = (tier(&server.url()).await, up(builder(&server.url()).schema(1)).await);
        let (codec, source) = (up(marked()).await, Source::new());
        for (number, tier) in [&plain, &newer, &codec].into_iter().enumerate() {
            assert_eq!(get(tier, &source, "k").await, format!("k#{}", number + 1));
        }
        assert_eq!((newer.stats().undecodable, codec.stats().undecodable), (1, 1));
        // A decoder that panics loses no caller.
        codec.insert("k".into(), "poison".into()).await.unwrap();
        assert_eq!(get(&codec, &source, "k").await, "k#4");
        // A foreign value at the key of one of ours.
        let mut conn = server.connection().await;
        let keys: Vec<String> = redis::cmd("KEYS").arg("test:*:{k:k}").query_async(&mut conn).await.unwrap();
        for foreign in ["", "short", &"long".repeat(20)] {
            redis::cmd("SET").arg(&keys[0]).arg(foreign).query_async::<()>(&mut conn).await.unwrap();
            eventually("the push comes", || codec.get("k").is_none()).await;
            let loads = source.loads();
            assert_eq!(get(&codec, &source, "k").await, format!("k#{}", loads + 1), "{foreign:?}");
        }
        assert!(codec.insert("k".into(), "unwritable".into()).await.is_err());
    });
}

#[cfg(all(feature = "json", feature = "messagepack"))]
#[test]
fn json_and_messagepack_can_be_read_by_others() {
    with_server(|server| async move {
        #[derive(serde::Serialize, serde::Deserialize, Clone, Debug, PartialEq)]
        struct User {
            name: String,
            age: Option<u32>,
        }
        let user = User { name: "Ada".into(), age: None };
        let json = Tier::<u64, User>::builder_with(&server.url(), bellwether_redis::Json).unwrap();
        let json = json.namespace("json").time_to_live(MINUTE).build().await.unwrap();
        let packed = Tier::<u64, User>::builder_with(&server.url(), bellwether_redis::MessagePack).unwrap();
        let packed = packed.namespace("packed").time_to_live(MINUTE).build().await.unwrap();
        for tier in [&json, &packed] {
            tier.insert(7, user.clone()).await.unwrap();
            let found = tier.try_get_with_async(&7, || async { Err("it is there") }).await;
            assert_eq!(found.unwrap(), user);
        }
        let mut conn = server.connection().await;
        let keys: Vec<String> = redis::cmd("KEYS").arg("json:*:{k:7}").query_async(&mut conn).await.unwrap();
        let stored: Vec<u8> = redis::cmd("GET").arg(&keys[0]).query_async(&mut conn).await.unwrap();
        assert!(stored.ends_with(br#"{"name":"Ada","age":null}"#));
    });
}

#[test]
fn none_is_a_value() {
    with_server(|server| async move {
        let tier = Tier::<u64, Option<String>>::builder(&server.url()).unwrap().time_to_live(MINUTE);
        let tier = tier.build().await.unwrap();
        let load = || async { Ok::<_, String>(None) };
        assert_eq!(tier.try_get_with_async(&1, load).await.unwrap(), None);
        assert_eq!(tier.get(&1), Some(None));
        let again = tier.try_get_with_async(&1, || async { Err("it is there") }).await;
        assert_eq!(again.unwrap(), None);
    });
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let refused = |builder: bellwether_redis::Builder<String, String>| runtime.block_on(builder.build()).unwrap_err();
    let any = || builder("redis://127.0.0.1:1/");
    assert!(matches!(Tier::<String, String>::builder("nonsense"), Err(BuildError::Address(_))));
    assert!(matches!(refused(any().namespace("a{b")), BuildError::Namespace));
    assert!(matches!(refused(any().namespace("")), BuildError::Namespace));
    assert!(matches!(refused(any().time_to_live(Duration::ZERO)), BuildError::NoTimeToLive));
    assert!(matches!(refused(any().probe(Duration::ZERO)), BuildError::Zero("probe")));
    assert!(matches!(refused(any().probe(MINUTE)), BuildError::ProbeTooLong));
    assert!(matches!(refused(any().memory(|memory| memory.max_loads(0))), BuildError::Memory(_)));
}

#[test]
fn memory_takes_all_settings_of_bellwether() {
    with_server(|server| async move {
        let weigh = |_: &String, text: &Held<String>| text.len() as u32;
        let builder =
            builder(&server.url()).max_capacity(100).memory(move |memory| memory.weigher(weigh).record_stats());
        let tier = up(builder).await;
        let load = || async { Ok::<_, String>("x".repeat(60)) };
        for key in ["a", "b", "a"] {
            tier.try_get_with_async(key, load).await.unwrap();
        }
        assert!(tier.memory().weight() <= 100);
        assert_eq!(tier.stats().shared_loads, 2, "what memory has no room for, the server keeps");
    });
}

#[test]
fn a_key_of_parts_is_pushed_as_such() {
    with_server(|server| async move {
        type Pairs = Tier<(String, u32), u64>;
        let build = || async {
            let builder = Pairs::builder(&server.url()).unwrap().time_to_live(MINUTE);
            builder.build().await.unwrap()
        };
        let (a, b) = (build().await, build().await);
        let key = ("user".to_owned(), 7);
        a.insert(key.clone(), 1).await.unwrap();
        assert_eq!(b.try_get_with_async(&key, || async { Err("it is there") }).await.unwrap(), 1);
        a.insert(key.clone(), 2).await.unwrap();
        eventually("the push comes", || b.get(&key).is_none()).await;
        assert_eq!(b.try_get_with_async(&key, || async { Err("it is there") }).await.unwrap(), 2);
    });
}
