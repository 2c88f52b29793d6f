//! RFC 9111 and RFC 5861 as one table: a request, the response to it, how much later the second
//! request comes, and what becomes of that. `http-cache-semantics` is asked, too.

use crate::support::*;
use Does::*;
use Oracle::*;
use http_cache_semantics::{CacheOptions, CachePolicy};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

type Lines = Vec<(&'static str, String)>;

/// What becomes of the second request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Does {
    /// Answered from the store, with this age.
    Hit(u64),
    /// Answered from the store although it is so many seconds too old; the handler is called beside
    /// it.
    Stale(i64),
    /// The handler is asked whether the response is still right.
    Asks,
    /// The handler is called as if nothing were stored.
    Calls,
}

/// Whether `http-cache-semantics` says so, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Oracle {
    Agrees,
    /// It is wrong there.
    Errs,
    /// The layer is more careful than the RFC asks; the oracle would serve it.
    Careful,
}

struct Case {
    what: &'static str,
    first: Lines,
    status: u16,
    response: Lines,
    after: u64,
    second: Lines,
    does: Does,
    oracle: Oracle,
}

fn lines(all: &[(&'static str, &str)]) -> Lines {
    all.iter().map(|(name, value)| (*name, (*value).to_owned())).collect()
}

/// A response with this `Cache-Control`, and how a request without headers fares so much later.
fn says(what: &'static str, cache_control: &str, after: u64, does: Does) -> Case {
    let response = lines(&[("cache-control", cache_control)]);
    Case { what, first: vec![], status: 200, response, after, second: vec![], does, oracle: Agrees }
}

impl Case {
    fn with(mut self, more: &[(&'static str, &str)]) -> Self {
        self.response.extend(lines(more));
        self
    }

    fn tagged(self) -> Self {
        self.with(&[("etag", "\"v1\"")])
    }

    fn asked(mut self, both: &[(&'static str, &str)]) -> Self {
        (self.first, self.second) = (lines(both), lines(both));
        self
    }

    fn then(mut self, second: &[(&'static str, &str)]) -> Self {
        self.second = lines(second);
        self
    }

    fn status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    fn oracle(mut self, oracle: Oracle) -> Self {
        self.oracle = oracle;
        self
    }
}

fn plain(what: &'static str, response: &[(&'static str, &str)], after: u64, does: Does) -> Case {
    Case { response: lines(response), ..says(what, "", after, does) }
}

/// Section 3: what is stored. Section 4.1: which request selects it.
fn storage() -> Vec<Case> {
    let auth = [("authorization", "Basic YTpi")];
    vec![
        says("max-age", "max-age=60", 59, Hit(59)),
        plain("nothing said", &[], 0, Calls),
        plain("a date, an entity tag, and no time", &[("etag", "\"a\""), ("last-modified", &date(-100))], 0, Calls),
        says("no-store", "no-store, max-age=60", 0, Calls),
        says("private", "private, max-age=60", 0, Calls),
        says("private with field names", "private=\"x\", max-age=60", 0, Calls),
        says("must-understand with a status that is understood", "must-understand, no-store, max-age=60", 0, Hit(0))
            .oracle(Errs),
        says("must-understand with another status", "must-understand, max-age=60", 0, Calls).status(299),
        says("a cookie is set", "max-age=60", 0, Calls).with(&[("set-cookie", "a=b")]),
        says("a cookie is set, publicly", "public, max-age=60", 0, Calls)
            .with(&[("set-cookie", "a=b")])
            .oracle(Careful),
        says("a cookie is set, for good", "immutable, max-age=60", 0, Calls)
            .with(&[("set-cookie", "a=b")])
            .oracle(Errs),
        says("partial content", "max-age=60", 0, Calls).status(206).with(&[("content-range", "bytes 0-0/2")]),
        says("a range in a 200", "max-age=60", 0, Calls).with(&[("content-range", "bytes 0-0/2")]).oracle(Careful),
        says("authorization", "max-age=60", 0, Calls).asked(&auth),
        says("authorization, public", "public, max-age=60", 5, Hit(5)).asked(&auth),
        says("authorization, s-maxage", "s-maxage=60", 5, Hit(5)).asked(&auth),
        says("authorization, must-revalidate", "must-revalidate, max-age=60", 5, Hit(5)).asked(&auth),
        says("204", "max-age=60", 5, Hit(5)).status(204),
        says("301", "max-age=60", 5, Hit(5)).status(301),
        says("302 with a time", "max-age=60", 5, Hit(5)).status(302),
        says("404 with a time", "max-age=60", 5, Hit(5)).status(404),
        says("500 with a time", "max-age=60", 0, Calls).status(500),
        says("503 with a time", "max-age=60", 0, Calls).status(503),
        says("vary: *", "max-age=60", 0, Calls).with(&[("vary", "*")]),
        says("vary, and the same", "max-age=60", 1, Hit(1)).with(&[("vary", "x")]).asked(&[("x", "1")]),
        says("vary, and another", "max-age=60", 1, Calls)
            .with(&[("vary", "x")])
            .asked(&[("x", "1")])
            .then(&[("x", "2")]),
        says("vary, and none", "max-age=60", 1, Calls).with(&[("vary", "x")]).asked(&[("x", "1")]).then(&[]),
        says("vary, and none twice", "max-age=60", 1, Hit(1)).with(&[("vary", "x")]),
        says("vary, and the second line differs", "max-age=60", 1, Calls)
            .with(&[("vary", "x")])
            .asked(&[("x", "1"), ("x", "2")])
            .then(&[("x", "1"), ("x", "3")])
            .oracle(Errs),
        says("vary in two lines", "max-age=60", 1, Calls)
            .with(&[("vary", "x"), ("vary", "y")])
            .asked(&[("x", "1"), ("y", "1")])
            .then(&[("x", "1"), ("y", "2")]),
        says("a directive that is not known", "max-age=60, community=\"UCI, no-store\"", 1, Hit(1)),
        says("upper case", "MAX-AGE=60", 1, Hit(1)).oracle(Errs),
        plain(
            "two lines of cache-control",
            &[("cache-control", "max-age=60"), ("cache-control", "no-store")],
            0,
            Calls,
        ),
    ]
}

/// Sections 4.2.1 and 4.2.3: how long a response is fresh, and how old it is.
fn freshness() -> Vec<Case> {
    vec![
        says("at its end", "max-age=60", 60, Calls),
        says("at its end, tagged", "max-age=60", 60, Asks).tagged(),
        says("s-maxage before max-age", "max-age=5, s-maxage=60", 50, Hit(50)),
        says("a shorter s-maxage", "max-age=60, s-maxage=5", 50, Calls),
        plain("expires", &[("date", &date(0)), ("expires", &date(60))], 59, Hit(59)),
        plain("expires, over", &[("date", &date(0)), ("expires", &date(60))], 60, Calls),
        plain("expires without a date", &[("expires", &date(60))], 59, Hit(59)),
        says("max-age before expires", "max-age=60", 50, Hit(50)).with(&[("expires", &date(1))]),
        plain("expires: 0", &[("expires", "0")], 0, Calls),
        plain("two that differ", &[("expires", &date(60)), ("expires", &date(90))], 0, Calls).oracle(Careful),
        plain("expires long ago, tagged", &[("expires", &date(-60)), ("etag", "\"a\"")], 0, Asks),
        says("a time that cannot be read", "max-age=soon", 0, Calls),
        says("two times", "max-age=60, max-age=5", 10, Calls).oracle(Careful),
        says("more seconds than a number has", "max-age=99999999999999999999", 1_000_000, Hit(1_000_000)).oracle(Errs),
        says("an age", "max-age=60", 10, Hit(40)).with(&[("age", "30")]),
        says("an age, over", "max-age=60", 30, Calls).with(&[("age", "30")]),
        says("an age that cannot be read", "max-age=60", 10, Hit(10)).with(&[("age", "old")]),
        says("a date in the past", "max-age=60", 10, Hit(40)).with(&[("date", &date(-30))]).oracle(Agrees),
        says("a date in the past, over", "max-age=60", 30, Calls).with(&[("date", &date(-30))]).oracle(Errs),
        says("a date in the future", "max-age=60", 10, Hit(10)).with(&[("date", &date(30))]),
        says("too old as it comes", "max-age=60", 0, Calls).with(&[("age", "60")]),
        says("too old as it comes, tagged", "max-age=60", 0, Asks).with(&[("age", "60")]).tagged(),
        says("max-age=0, tagged", "max-age=0", 0, Asks).tagged(),
        says("max-age=0", "max-age=0", 0, Calls),
    ]
}

/// Sections 4.2.4, 4.3 and 5.2, RFC 5861: validation, and what may be served stale.
fn validation() -> Vec<Case> {
    const WINDOW: &str = "max-age=10, stale-while-revalidate=30";
    vec![
        says("no-cache, tagged", "no-cache", 0, Asks).tagged(),
        says("no-cache with a time, tagged", "no-cache, max-age=60", 5, Asks).tagged(),
        says("no-cache with field names", "no-cache=\"x\", max-age=60", 5, Asks).tagged(),
        says("no-cache, dated", "no-cache", 5, Asks).with(&[("last-modified", &date(-5))]),
        says("no-cache without a validator", "no-cache", 0, Calls),
        says("stale while one asks", WINDOW, 15, Stale(-5)),
        says("stale, at the end of the window", WINDOW, 40, Calls),
        says("s-maxage with a window of its own", "s-maxage=10, stale-while-revalidate=30", 15, Stale(-5)),
        says("must-revalidate", "must-revalidate, max-age=10, stale-while-revalidate=30", 15, Calls),
        says("proxy-revalidate", "proxy-revalidate, max-age=10, stale-while-revalidate=30", 15, Calls),
        says("no-cache with a window", "no-cache, max-age=10, stale-while-revalidate=30", 15, Asks).tagged(),
        says("max-age=0 with a window", "max-age=0, stale-while-revalidate=30", 15, Stale(-15)),
        says("too old as it comes, with a window", WINDOW, 0, Stale(-10)).with(&[("age", "20")]),
    ]
}

/// What clients say, where the layer is to listen to them.
fn clients() -> Vec<Case> {
    let then = |value| [("cache-control", value)];
    let minute = |what, value, after, does| says(what, "max-age=60", after, does).tagged().then(&then(value));
    vec![
        minute("a client's no-cache", "no-cache", 0, Asks),
        minute("a client's max-age", "max-age=5", 5, Hit(5)),
        minute("a client's shorter max-age", "max-age=5", 6, Asks),
        minute("a client's min-fresh", "min-fresh=10", 50, Hit(50)),
        minute("a client's longer min-fresh", "min-fresh=11", 50, Asks),
        minute("a client's no-store", "no-store", 0, Calls).oracle(Careful),
        says("pragma", "max-age=60", 0, Asks).tagged().then(&[("pragma", "no-cache")]),
    ]
}

fn headers_of(all: &Lines) -> Vec<(&str, &str)> {
    all.iter().map(|(name, value)| (*name, value.as_str())).collect()
}

/// Sends both requests of a case; returns what became of the second one.
async fn run(case: &Case, listens: bool) -> Does {
    let (status, response) = (case.status, headers(&headers_of(&case.response)));
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = asked.clone();
    let build = move |builder: bellwether_tower::Builder| builder.authorization(true).client_cache_control(listens);
    let site = Site::new(build, move |call, request| {
        let conditional =
            request.headers().contains_key("if-none-match") || request.headers().contains_key("if-modified-since");
        seen.lock().unwrap().push(conditional);
        let mut made = answer(status, &[], if status == 204 { String::new() } else { call.to_string() });
        *made.headers_mut() = response.clone();
        async move { made }
    });
    let url = "http://a.example/x";
    site.call(get(url, &headers_of(&case.first))).await;
    site.clock.advance(s(case.after));
    let second = site.call(get(url, &headers_of(&case.second))).await;
    if second.is_hit() {
        let ttl: i64 = second.did().rsplit_once("ttl=").unwrap().1.parse().unwrap();
        settle().await;
        return match ttl {
            0.. => {
                assert_eq!(site.calls(), 1, "{}", case.what);
                Hit(second.header("age").unwrap().parse().unwrap())
            }
            _ => {
                assert_eq!(site.calls(), 2, "{}: the handler is not called", case.what);
                Stale(ttl)
            }
        };
    }
    assert_eq!(site.calls(), 2, "{}", case.what);
    if asked.lock().unwrap()[1] { Asks } else { Calls }
}

/// Returns whether the oracle would answer the second request from its store.
fn oracle(case: &Case) -> bool {
    let request = |all: &Lines| {
        let mut request = http::Request::get("http://a.example/x").body(()).unwrap();
        *request.headers_mut() = headers(&headers_of(all));
        request
    };
    let mut response = http::Response::builder().status(case.status).body(()).unwrap();
    *response.headers_mut() = headers(&headers_of(&case.response));
    let at = |seconds| SystemTime::UNIX_EPOCH + s(BEGIN + seconds);
    // (Times by guess are none of ours.)
    let options = CacheOptions { cache_heuristic: 0.0, ..CacheOptions::default() };
    let policy = CachePolicy::new_options(&request(&case.first), &response, at(0), options);
    policy.is_storable()
        && policy.before_request(&request(&case.second), at(case.after)).satisfies_without_revalidation()
}

async fn check(cases: Vec<Case>, listens: bool) {
    let mut wrong = Vec::new();
    for case in cases {
        let does = run(&case, listens).await;
        if does != case.does {
            wrong.push(format!("{}: {does:?}, and not {:?}", case.what, case.does));
        }
        let (hit, served) = (matches!(case.does, Hit(_)), oracle(&case));
        if (hit == served) != (case.oracle == Agrees) {
            wrong.push(format!("{}: the oracle serves it: {served}", case.what));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn what_is_stored() {
    check(storage(), false).await;
}

#[tokio::test]
async fn how_long_it_is_fresh() {
    check(freshness(), false).await;
}

#[tokio::test]
async fn what_is_validated_and_what_is_served_stale() {
    check(validation(), false).await;
}

#[tokio::test]
async fn what_clients_say() {
    check(clients(), true).await;
}

/// Any client could otherwise call the handler at will.
#[tokio::test]
async fn clients_are_not_listened_to_unless_told() {
    for mut case in clients() {
        case.does = Hit(case.after);
        let does = run(&case, false).await;
        assert_eq!(does, case.does, "{}", case.what);
    }
}
