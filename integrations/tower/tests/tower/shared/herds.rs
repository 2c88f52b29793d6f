//! One call of the handler over all processes.

use super::*;

const FRESH: &[(&str, &str)] = &[("cache-control", "max-age=600"), ("surrogate-key", "t")];

#[test]
fn a_cold_route_is_one_call_over_all_processes() {
    with_server(|server| async move {
        let origin = Origin::held(|call, _| answer(200, FRESH, call.to_string()));
        let (one, two) = (origin.process(&server).await, origin.process(&server).await);
        let at_one = ten(&one).await;
        origin.called(1).await;
        let at_two = ten(&two).await;
        waits(&two).await;
        origin.gate.open();
        let (at_one, at_two) = (all(at_one).await, all(at_two).await);
        assert!(at_one.iter().chain(&at_two).all(|read| (read.status, read.text()) == (200, "1")));
        assert_eq!(origin.calls(), 1);
        let led = |reads: &[Read]| reads.iter().filter(|read| !read.did().contains("; collapsed")).count();
        assert_eq!((led(&at_one), led(&at_two)), (1, 0), "{}", at_two[0].did());
        assert!(at_two.iter().all(|read| did(read) == "bellwether; fwd=uri-miss; stored; collapsed"));
        // From its own memory.
        for site in [&one, &two] {
            assert_eq!(from_memory(site).await.text(), "1");
        }
    });
}

#[test]
fn a_process_that_starts_finds_the_responses_of_the_others() {
    with_server(|server| async move {
        let origin = Origin::fixed(FRESH);
        let one = origin.process(&server).await;
        assert_eq!(one.get("/").await.text(), "1");
        drop(one);
        let two = origin.process(&server).await;
        let read = two.get("/").await;
        assert_eq!((read.text(), &*did(&read)), ("1", "bellwether; hit; detail=shared"));
        assert_eq!(origin.calls(), 1);
        let stats = two.cache.tier_stats().unwrap();
        assert_eq!((stats.shared_hits, stats.shared_loads, stats.local_loads), (1, 0, 0));
    });
}
