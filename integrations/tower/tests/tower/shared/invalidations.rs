//! What one process ends, all do.

use super::*;
use bellwether_tower::Reach;

const TAGGED: &[(&str, &str)] = &[("cache-control", "max-age=600"), ("surrogate-key", "product:7 products")];

/// Waits until a process has lost the response of a call.
async fn lost(site: &Site, old: &str) {
    let end = Instant::now() + s(60);
    while site.get("/").await.text() == old {
        assert!(Instant::now() < end, "it still serves {old}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Each way to end a response, in one process: the other one has it no more.
#[test]
fn an_invalidation_reaches_all_processes() {
    with_server(|server| async move {
        let origin = Origin::fixed(TAGGED);
        let (one, two) = (origin.process(&server).await, origin.process(&server).await);
        for way in 0..6_usize {
            let old = (way + 1).to_string();
            for site in [&one, &two] {
                assert_eq!(from_memory(site).await.text(), old);
            }
            let cache = &one.cache;
            let reach = match way {
                0 => cache.invalidate_tag("product:7").await,
                1 => cache.invalidate("", "/").await,
                2 => cache.invalidate_all().await,
                3 => cache.expire("", "/").await,
                4 => cache.expire_tag("products").await,
                _ => {
                    // (The handler answers that, too.)
                    origin.calls.fetch_sub(1, SeqCst);
                    let read = one.call(ask("PUT", "/", &[])).await;
                    assert_eq!(read.did(), "bellwether; fwd=method");
                    Ok(Reach::All)
                }
            };
            assert_eq!(reach, Ok(Reach::All), "{way}");
            lost(&two, &old).await;
            assert_eq!(origin.calls(), way + 2);
        }
    });
}
