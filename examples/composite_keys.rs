//! Keys of several parts, looked up by borrowed parts: a hit allocates no key.
//! `cargo run --example composite_keys`.

use bellwether::{Cache, Equivalent, ToKey};

/// What the cache owns.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Page {
    host: String,
    path: String,
}

/// What a caller has. It hashes as [`Page`] does: the same fields in the same order.
#[derive(Hash)]
struct At<'a>(&'a str, &'a str);

impl Equivalent<Page> for At<'_> {
    fn equivalent(&self, page: &Page) -> bool {
        page.host == self.0 && page.path == self.1
    }
}

/// Called where a load begins, and for no hit.
impl ToKey<Page> for At<'_> {
    fn to_key(&self) -> Page {
        Page { host: self.0.to_owned(), path: self.1.to_owned() }
    }
}

fn main() {
    let sizes: Cache<Page, usize> = Cache::new(1_000);
    assert_eq!(sizes.get_with(&At("example.org", "/"), || 1_256), 1_256);
    assert_eq!(sizes.get(&At("example.org", "/")), Some(1_256));
    assert_eq!(sizes.get(&At("example.org", "/about")), None);
    println!("{} page of {} bytes", sizes.len(), sizes.get_with(&At("example.org", "/"), || unreachable!()));
}
