//! What is shared of a response, and what never is.

use super::*;
use http_body::Frame;
use std::time::SystemTime;

/// A response with all that a response can have, as another process finds it.
#[test]
fn a_response_is_the_same_in_all_processes() {
    with_server(|server| async move {
        let lines = [
            ("cache-control", "max-age=600"),
            ("link", "</a>; rel=next"),
            ("link", "</b>; rel=prev"),
            ("etag", "\"v1\""),
            ("cache-status", "inner; hit"),
            ("connection", "x-hop"),
            ("x-hop", "1"),
            ("date", "Sun, 06 Nov 1994 08:49:37 GMT"),
            ("expires", "Sun, 06 Nov 1994 08:49:37 GMT"),
        ];
        // The handler's clock and the test's are those of the date.
        let wall = || SystemTime::UNIX_EPOCH + s(BEGIN);
        let origin = Origin::new(move |_, _| {
            let trailers = headers(&[("x-sum", "7")]);
            let body =
                frames(vec![Ok(Frame::data("bo".into())), Ok(Frame::data("dy".into())), Ok(Frame::trailers(trailers))]);
            let mut response = answer(203, &lines, "").map(|_| body);
            response.headers_mut().append("x-raw", http::HeaderValue::from_bytes(b"\xfftext").unwrap());
            response
        });
        let one = up(store().wall_clock(wall), tier(&server.url())).await;
        // Half a minute later.
        let two = up(store().wall_clock(move || wall() + s(30)), tier(&server.url())).await;
        let (one, two) = (origin.site(&one, one.layer()), origin.site(&two, two.layer()));
        one.get("/").await;
        let read = two.get("/").await;
        assert_eq!(origin.calls(), 1);
        assert_eq!((read.status, read.text(), read.header("age")), (203, "body", Some("30")));
        assert_eq!(did(&read), "inner; hit, bellwether; hit; detail=shared");
        assert!(read.did().contains("; ttl=570") || read.did().contains("; ttl=569"), "{}", read.did());
        assert_eq!(read.trailers, Some(headers(&[("x-sum", "7")])));
        let links: Vec<_> = read.headers.get_all("link").iter().collect();
        assert_eq!(links, ["</a>; rel=next", "</b>; rel=prev"]);
        assert_eq!(read.headers["x-raw"].as_bytes(), b"\xfftext");
        assert_eq!((read.header("x-hop"), read.header("date")), (None, Some("Sun, 06 Nov 1994 08:49:37 GMT")));
        for (site, age) in [(&one, "0"), (&two, "30")] {
            let hit = from_memory(site).await;
            assert_eq!((&*did(&hit), hit.text()), ("inner; hit, bellwether; hit", "body"));
            assert!(hit.header("age").unwrap().parse::<u64>().unwrap() >= age.parse().unwrap());
        }
        assert_eq!(two.call(ask("HEAD", "/", &[])).await.text(), "");
        assert_eq!(origin.calls(), 1);
    });
}

#[test]
fn a_client_that_has_the_response_of_another_process_is_told_so() {
    with_server(|server| async move {
        let origin = Origin::fixed(&[("cache-control", "max-age=600"), ("etag", "\"v1\"")]);
        let (one, two) = (origin.process(&server).await, origin.process(&server).await);
        one.get("/").await;
        let read = two.call(get("/", &[("if-none-match", "\"v1\"")])).await;
        assert_eq!((read.status, read.text(), origin.calls()), (304, "", 1));
    });
}

/// A response that is validated at each use: by any process, with what another one has stored.
#[test]
fn a_response_is_validated_by_any_process() {
    with_server(|server| async move {
        let origin = Origin::new(|call, request| {
            let lines = [("cache-control", "no-cache"), ("etag", "\"v1\"")];
            let knows = request.headers().get("if-none-match").is_some_and(|tag| tag == "\"v1\"");
            answer(if knows { 304 } else { 200 }, &lines, if knows { String::new() } else { call.to_string() })
        });
        let (one, two) = (origin.process(&server).await, origin.process(&server).await);
        assert_eq!(did(&one.get("/").await), "bellwether; fwd=uri-miss; stored");
        for (site, calls) in [(&two, 2), (&one, 3), (&two, 4)] {
            let read = site.get("/").await;
            assert_eq!((read.status, read.text(), origin.calls()), (200, "1", calls));
            assert!(read.did().contains("; fwd-status=304"), "{}", read.did());
        }
    });
}

/// Both steps of `Vary`: the rule, and each variant.
#[test]
fn variants_are_shared() {
    with_server(|server| async move {
        let origin = Origin::new(|call, request| {
            let language = request.headers().get("accept-language").map_or("-", |it| it.to_str().unwrap()).to_owned();
            let lines = [("cache-control", "max-age=600"), ("vary", "accept-language")];
            answer(200, &lines, format!("{language}{call}"))
        });
        let (one, two) = (origin.process(&server).await, origin.process(&server).await);
        let speaking = |language| get("/", &[("accept-language", language)]);
        assert_eq!(one.call(speaking("en")).await.text(), "en1");
        assert_eq!(two.call(speaking("de")).await.text(), "de2");
        assert_eq!(one.call(speaking("de")).await.text(), "de2");
        assert_eq!(two.call(speaking("en")).await.text(), "en1");
        assert_eq!(two.get("/").await.text(), "-3");
        assert_eq!(one.get("/").await.text(), "-3");
        // All variants go with the URI.
        bounded(two.cache.invalidate("", "/")).await.unwrap();
        let end = Instant::now() + s(60);
        while one.call(speaking("de")).await.text() == "de2" {
            assert!(Instant::now() < end, "it still serves the old variant");
        }
        assert!(!["en1", "-3"].contains(&one.call(speaking("en")).await.text()));
    });
}

/// What belongs to one client is on no server; that it does, is.
#[test]
fn what_is_private_never_leaves_the_process() {
    with_server(|server| async move {
        let secrets: [&[(&str, &str)]; 5] = [
            &[("cache-control", "private, max-age=600")],
            &[("cache-control", "no-store")],
            &[("cache-control", "max-age=600"), ("set-cookie", "session=secret")],
            &[("cache-control", "max-age=600"), ("vary", "*")],
            &[],
        ];
        for (number, lines) in secrets.into_iter().enumerate() {
            let origin = Origin::new(move |_, _| answer(200, lines, "a secret body"));
            let (one, two) = (origin.process(&server).await, origin.process(&server).await);
            let uri = format!("/{number}");
            assert_eq!(did(&one.get(&uri).await), "bellwether; fwd=uri-miss");
            let read = two.get(&uri).await;
            assert_eq!(did(&read), "bellwether; fwd=bypass; detail=hit-for-pass", "{lines:?}");
            assert_eq!(origin.calls(), 2);
        }
        // A failure's text goes to those who wait, and so does none of these.
        let origin = Origin::new(|_, _| answer(500, &[("set-cookie", "session=secret")], "a secret body"));
        let one = origin.process(&server).await;
        assert_eq!(one.get("/fails").await.text(), "a secret body");
        let all = everything(&server).await;
        assert!(all.len() >= 5, "the marks are there: {}", all.len());
        for (key, value) in all {
            for text in [&b"secret"[..], b"session"] {
                let found = value.windows(text.len()).any(|part| part == text);
                assert!(!found, "{}", String::from_utf8_lossy(&key));
            }
        }
    });
}

/// It answers those who wait in the process that called the handler.
#[test]
fn what_is_too_large_for_the_server_is_not_shared() {
    with_server(|server| async move {
        let origin =
            Origin::held(|call, _| answer(200, &[("cache-control", "max-age=600")], call.to_string().repeat(5000)));
        let cache = up(store(), tier(&server.url()).max_value_bytes(4000)).await;
        let site = origin.site(&cache, cache.layer());
        let waiting = ten(&site).await;
        origin.called(1).await;
        origin.gate.open();
        assert!(all(waiting).await.iter().all(|read| read.text().len() == 5000));
        assert!(everything(&server).await.iter().all(|(_, value)| value.len() < 4000));
        let calls = origin.calls();
        assert_eq!(did(&site.get("/").await), "bellwether; fwd=uri-miss");
        assert_eq!(origin.calls(), calls + 1, "memory has none of it");
    });
}

#[test]
fn what_cannot_be_read_is_a_miss() {
    with_server(|server| async move {
        let origin = Origin::fixed(&[("cache-control", "max-age=600")]);
        origin.process(&server).await.get("/").await;
        let mut connection = server.connection().await;
        let responses = everything(&server).await.into_iter().filter(|(_, value)| value.len() > 100);
        for (key, mut value) in responses {
            let end = value.len() - 1;
            value.truncate(end);
            let _: () = redis::cmd("SET").arg(key).arg(value).query_async(&mut connection).await.unwrap();
        }
        let two = origin.process(&server).await;
        assert_eq!(two.get("/").await.text(), "2");
        assert_eq!(two.cache.tier_stats().unwrap().undecodable, 1);
        let three = origin.process(&server).await;
        assert_eq!((three.get("/").await.text(), origin.calls()), ("2", 2), "it was replaced");
    });
}
