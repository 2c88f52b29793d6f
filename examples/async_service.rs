//! A service: a hundred tasks ask for one user, and one query is made. The cache works with every
//! runtime. `cargo run --features tokio --example async_service`.

use bellwether::{Cache, LoadError};
use std::{error::Error, io, sync::Arc, time::Duration};

type User = Arc<str>;

/// The database. It knows one user.
async fn query(id: u64) -> io::Result<User> {
    tokio::task::yield_now().await;
    if id == 1 { Ok("Ada".into()) } else { Err(io::Error::other("no such user")) }
}

async fn user(users: Arc<Cache<u64, User>>, id: u64) -> Result<User, LoadError<io::Error>> {
    users.try_get_with_async(&id, || query(id)).await
}

async fn serve() -> Result<(), Box<dyn Error>> {
    let builder = Cache::builder().max_capacity(10_000).time_to_live(Duration::from_secs(60));
    let users = Arc::new(builder.build()?);
    let requests: Vec<_> = (0..100).map(|_| tokio::spawn(user(users.clone(), 1))).collect();
    for request in requests {
        assert_eq!(&*request.await??, "Ada");
    }
    println!("100 requests, {} query", users.stats().loads);
    assert_eq!(users.stats().loads, 1);

    match user(users, 2).await {
        Err(LoadError::Load(error)) => println!("user 2: {error}"),
        other => unreachable!("{other:?}"),
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    tokio::runtime::Builder::new_current_thread().build()?.block_on(serve())
}
