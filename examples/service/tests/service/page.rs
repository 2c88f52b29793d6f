//! The page's files, its numbers, and its buttons.

use crate::support::Running;
use reqwest::{Method, StatusCode};
use serde_json::json;

#[tokio::test]
async fn all_files_of_the_page_are_there_and_come_from_here() {
    let service = Running::start().await;
    let page = service.get("/").await;
    assert_eq!((page.status, page.header("content-type")), (StatusCode::OK, "text/html; charset=utf-8"));
    let script = service.get("/app.js").await.text;
    for (path, kind) in [
        ("/app.js", "text/javascript; charset=utf-8"),
        ("/charts.js", "text/javascript; charset=utf-8"),
        ("/style.css", "text/css; charset=utf-8"),
        ("/icon.svg", "image/svg+xml"),
    ] {
        let file = service.get(path).await;
        assert_eq!((file.status, file.header("content-type")), (StatusCode::OK, kind));
        assert!(
            page.text.contains(&format!("\"{path}\"")) || script.contains(&format!("\"{path}\"")),
            "{path} is used"
        );
    }
    assert!(!page.text.contains("src=\"http") && !page.text.contains("href=\"http"), "nothing is from elsewhere");
    // Each element that the script names.
    for (place, _) in script.match_indices("at(\"") {
        if script[..place].ends_with(char::is_alphabetic) {
            continue;
        }
        let id = script[place + 4..].split('"').next().unwrap();
        assert!(page.text.contains(&format!("id=\"{id}\"")), "{id}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_generator_asks_until_it_is_stopped() {
    let service = Running::start().await;
    let plan =
        |running, cached| json!({ "running": running, "rate": 500, "tasks": 8, "cached": cached, "asks": "hot" });
    service.post("/demo/generator", plan(true, true)).await;
    let stats = service.until("a hundred requests", |stats| stats["counts"]["requests"].as_u64() > Some(100)).await;
    assert_eq!((&stats["counts"]["queries"], &stats["generator"]["running"]), (&1.into(), &true.into()), "{stats}");
    // Its answers are those that other clients get.
    assert!(service.get("/products/1").await.cache("hit"));

    service.post("/demo/generator", plan(true, false)).await;
    service.until("ten queries", |stats| stats["counts"]["hot_queries"].as_u64() > Some(10)).await;
    service.post("/demo/generator", plan(false, true)).await;
    service.until("at rest", |stats| stats["open"] == 0).await;
    let before = service.count("requests").await;
    assert_eq!(service.count("requests").await, before);

    // The samples are those after the one that is named, without gaps.
    let stats = service.until("sampled", |stats| stats["latest"].as_u64() > Some(2)).await;
    let numbers: Vec<u64> =
        stats["samples"].as_array().unwrap().iter().map(|s| s["number"].as_u64().unwrap()).collect();
    assert!(numbers.iter().copied().eq(1..=numbers.len() as u64), "{numbers:?}");
    let later = service.get("/stats?after=2").await.json();
    assert_eq!(later["samples"][0]["number"], 3);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_follows_a_press_is_counted_from_it() {
    let service = Running::start().await;
    let plan = json!({ "running": true, "rate": 500, "tasks": 16, "cached": true, "asks": "mixed" });
    service.post("/demo/generator", plan).await;
    service.until("warm", |stats| stats["counts"]["hit"].as_u64() > Some(50)).await;
    let clear = service.request(Method::POST, "/demo/clear");
    assert_eq!(service.send(clear).await.status, StatusCode::NO_CONTENT);
    let stats = service.until("followed", |stats| stats["actions"][0]["over"] == true).await;
    let action = &stats["actions"][0];
    assert_eq!(
        (&action["name"], &action["hot_queries"], &action["cached"]),
        (&"clear".into(), &1.into(), &true.into())
    );
    assert!(action["requests"].as_u64() > Some(1) && action["failed"] == 0 && action["late"] == 0, "{action}");
}

#[tokio::test]
async fn a_plan_that_is_wrong_is_refused() {
    let service = Running::start().await;
    let plan = json!({ "running": true, "rate": 100, "tasks": 8, "cached": true, "asks": "hot" });
    for (name, value) in [
        ("rate", json!(0)),
        ("rate", json!(5001)),
        ("tasks", json!(0)),
        ("tasks", json!(257)),
        ("asks", json!("everything")),
        ("unknown", json!(1)),
    ] {
        let mut wrong = plan.clone();
        wrong[name] = value;
        let refused = service.send(service.request(Method::POST, "/demo/generator").json(&wrong)).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{wrong}");
        assert!(refused.text.contains(name), "{}", refused.text);
    }
    assert_eq!(service.stats().await["generator"]["running"], false);
}
