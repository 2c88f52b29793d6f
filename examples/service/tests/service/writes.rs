//! Writes, and what they end.

use crate::support::{BOUND, Running};
use reqwest::{Method, StatusCode};
use serde_json::json;
use std::time::Instant;

#[tokio::test]
async fn a_change_ends_the_page_the_lists_and_what_mentions_the_product() {
    let service = Running::start().await;
    let hot = service.get("/products/1").await.json();
    let companion = hot["bought_together"][0].clone();
    let id = u32::try_from(companion["id"].as_u64().unwrap()).unwrap();
    let page = format!("/products/{id}");
    let category = service.get(&page).await.json()["category"].as_str().unwrap().to_owned();
    let (from, to) = (format!("/products?category={category}"), "/products?category=cocoa");
    let paths = [&*page, "/products/1", "/products", &from, to];
    for path in paths {
        service.get(path).await;
        assert!(service.get(path).await.cache("hit"), "{path} is kept");
    }
    let unrelated = "/products?category=unrelated";
    service.get(unrelated).await;

    let written = service.put(id, "Cocoa of the house", "cocoa").await;
    assert_eq!(written.status, StatusCode::OK);
    let tags = [format!("category:{category}"), "category:cocoa".into(), format!("mentions:{id}")];
    for tag in tags.into_iter().chain([format!("product:{id}"), "products".into()]) {
        assert!(written.json()["invalidated"].as_array().unwrap().contains(&tag.clone().into()), "{tag}");
    }
    for path in paths {
        assert!(!service.get(path).await.cache("hit"), "{path} has ended");
    }
    assert!(service.get(unrelated).await.cache("hit"));
    assert_eq!(service.get(&page).await.json()["name"], "Cocoa of the house");
    assert_eq!(service.get("/products/1").await.json()["bought_together"][0]["name"], "Cocoa of the house");
    assert_eq!(service.get(to).await.json()[0]["id"], id);
}

#[tokio::test]
async fn a_new_product_ends_the_answer_that_there_is_none() {
    let service = Running::start().await;
    assert_eq!(service.get("/products/700").await.status, StatusCode::NOT_FOUND);
    let made = service.put(700, "Late tea", "tea").await;
    assert_eq!((made.status, made.header("location")), (StatusCode::CREATED, "/products/700"));
    assert_eq!(service.get("/products/700").await.json()["name"], "Late tea");

    assert_eq!(service.get("/products/701").await.status, StatusCode::NOT_FOUND);
    let details = json!({ "name": "Later tea", "category": "tea", "price_cents": 1 });
    let made = service.send(service.request(Method::POST, "/products").json(&details)).await;
    assert_eq!((made.status, made.header("location")), (StatusCode::CREATED, "/products/701"));
    assert_eq!(service.get("/products/701").await.json()["name"], "Later tea");
}

#[tokio::test]
async fn a_write_that_is_wrong_is_refused_and_ends_nothing() {
    let service = Running::start().await;
    service.get("/products/3").await;
    for (id, name, category, why) in [
        (3, "Tea", "Black Tea", "category"),
        (3, "Tea", "", "category"),
        (3, "", "tea", "name"),
        (3, "a\nb", "tea", "name"),
        (0, "Tea", "tea", "id"),
        (2_000_000_000, "Tea", "tea", "id"),
    ] {
        let refused = service.put(id, name, category).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
        assert!(refused.json()["error"].as_str().unwrap().starts_with(why), "{}", refused.text);
    }
    assert!(service.get("/products/3").await.cache("hit"));
    assert_eq!(service.get("/products/three").await.status, StatusCode::BAD_REQUEST);
    assert_eq!(service.get("/products?category=a%20b").await.status, StatusCode::UNPROCESSABLE_ENTITY);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_whose_deadline_ends_leaves_no_old_product() {
    let service = Running::start().await;
    service.get("/products/4").await;
    service.stall(true).await;
    let details = json!({ "name": "New", "category": "tea", "price_cents": 1 });
    let write = service.request(Method::PUT, "/products/4").json(&details).header("x-deadline-ms", 20);
    assert_eq!(service.send(write).await.status, StatusCode::GATEWAY_TIMEOUT);
    service.stall(false).await;
    // The write goes on, and ends what it must.
    let end = Instant::now() + BOUND;
    while service.get("/products/4").await.json()["name"] != "New" {
        assert!(Instant::now() < end, "the old product stays");
    }
}
