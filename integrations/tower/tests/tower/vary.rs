//! `Vary`: each variant for its own requests.

use crate::support::*;

/// A handler that varies by language, and answers with the language and the number of the call.
fn languages(vary: &'static str) -> Site {
    Site::new(
        |builder| builder,
        move |call, request| {
            let language =
                request.headers().get("accept-language").map_or("none", |value| value.to_str().unwrap()).to_owned();
            async move { answer(200, &[("cache-control", "max-age=60"), ("vary", vary)], format!("{language}{call}")) }
        },
    )
}

fn speaking(language: &str) -> Asked {
    get("/", &[("accept-language", language)])
}

#[tokio::test]
async fn each_variant_is_called_for_once() {
    let site = languages("accept-language");
    let mut texts = Vec::new();
    for language in ["de", "en", "fr", "de", "en", "fr"] {
        texts.push(site.call(speaking(language)).await.text().to_owned());
    }
    assert_eq!(texts, ["de1", "en2", "fr3", "de1", "en2", "fr3"]);
    assert_eq!(site.get("/").await.text(), "none4");
    assert_eq!(site.get("/").await.text(), "none4");
}

#[tokio::test]
async fn all_lines_of_a_header_count() {
    let site = languages("Accept-Language");
    site.call(get("/", &[("accept-language", "de"), ("accept-language", "en")])).await;
    assert!(site.call(speaking("de, en")).await.is_hit());
    assert!(!site.call(speaking("de")).await.is_hit());
    assert!(!site.call(get("/", &[("accept-language", "de"), ("accept-language", "fr")])).await.is_hit());
}

#[tokio::test]
async fn a_response_that_varies_by_anything_is_no_ones_else() {
    let site = languages("*");
    for call in 1..=3 {
        assert_eq!(site.call(speaking("de")).await.text(), format!("de{call}"));
    }
}

#[tokio::test]
async fn all_variants_go_with_their_uri() {
    let site = languages("accept-language");
    for language in ["de", "en"] {
        site.call(speaking(language)).await;
    }
    assert!(site.cache.invalidate("", "/").was_there());
    for (language, expected) in [("en", "en3"), ("de", "de4"), ("en", "en3")] {
        assert_eq!(site.call(speaking(language)).await.text(), expected);
    }
    // Whichever of them comes first afterwards.
    assert!(site.cache.invalidate("", "/").was_there());
    for (language, expected) in [("en", "en5"), ("de", "de6"), ("de", "de6")] {
        assert_eq!(site.call(speaking(language)).await.text(), expected);
    }
}

#[tokio::test]
async fn the_first_variant_ends_without_the_others() {
    let site = Site::new(
        |builder| builder,
        |call, request| {
            let language = request.headers()["accept-language"].to_str().unwrap().to_owned();
            async move {
                let says = if language == "de" { "max-age=10" } else { "max-age=100" };
                answer(200, &[("cache-control", says), ("vary", "accept-language")], format!("{language}{call}"))
            }
        },
    );
    for language in ["de", "en"] {
        site.call(speaking(language)).await;
    }
    site.clock.advance(s(10));
    // The rule is known although the response that told it is over: "en" is not called for again,
    assert_eq!(site.call(speaking("en")).await.did(), "bellwether; hit; ttl=90");
    assert_eq!(site.call(speaking("de")).await.did(), "bellwether; fwd=stale; stored; ttl=10");
    // and nor is it after "de" was.
    assert_eq!(site.call(speaking("en")).await.text(), "en2");
    assert_eq!(site.calls(), 3);
}

/// A handler whose variants vary further: by another header, for one language only.
#[tokio::test]
async fn a_variant_may_vary_by_more() {
    let site = Site::new(
        |builder| builder,
        |call, request| async move {
            let value =
                |name: &str| request.headers().get(name).map_or("-", |value| value.to_str().unwrap()).to_owned();
            let (language, color) = (value("accept-language"), value("color"));
            let vary = if language == "en" { "accept-language, color" } else { "accept-language" };
            answer(200, &[("cache-control", "max-age=60"), ("vary", vary)], format!("{language} {color} {call}"))
        },
    );
    let all = [("de", "red"), ("en", "red"), ("en", "blue"), ("de", "blue"), ("en", "blue"), ("en", "red")];
    let mut texts = Vec::new();
    for (language, color) in all {
        let read = site.call(get("/", &[("accept-language", language), ("color", color)])).await;
        texts.push(read.text().to_owned());
    }
    assert_eq!(texts, ["de red 1", "en red 2", "en blue 3", "de red 1", "en blue 3", "en red 2"]);
}

/// What is invalidated while the handler makes it is for those who wait, and stored in no variant.
#[tokio::test]
async fn a_variant_that_is_invalidated_meanwhile_is_not_stored() {
    for tagged in [false, true] {
        let gate = Gate::closed();
        let waits = gate.clone();
        let site = Site::new(
            |builder| builder,
            move |call, _| {
                let gate = waits.clone();
                async move {
                    gate.pass().await;
                    let lines = [("cache-control", "max-age=60"), ("vary", "accept-language"), ("surrogate-key", "t")];
                    answer(200, &lines, call.to_string())
                }
            },
        );
        gate.open_once();
        assert_eq!(site.call(speaking("de")).await.text(), "1");
        let waiting = site.begin(speaking("en"));
        settle().await;
        if tagged {
            site.cache.invalidate_tag("t");
        } else {
            site.cache.invalidate("", "/");
        }
        gate.open();
        assert_eq!(bounded(waiting).await.unwrap().text(), "2");
        assert_eq!(site.call(speaking("en")).await.text(), "3", "tagged: {tagged}");
        assert_eq!(site.call(speaking("en")).await.text(), "3");
    }
}

/// A failure in one coding is no answer to those who asked for another.
#[tokio::test]
async fn failures_vary_too() {
    let gate = Gate::closed();
    let waits = gate.clone();
    let site = Site::new(
        |builder| builder,
        move |_, request| {
            let gate = waits.clone();
            async move {
                gate.pass().await;
                let language = request.headers()["accept-language"].to_str().unwrap().to_owned();
                answer(500, &[("vary", "accept-language")], language)
            }
        },
    );
    let requests = ["de", "de", "de", "en"].map(speaking).into();
    let all = site.herd(requests, &gate).await;
    let texts: Vec<_> = all.iter().map(Read::text).collect();
    assert_eq!((texts, site.calls()), (vec!["de", "de", "de", "en"], 2));
}
