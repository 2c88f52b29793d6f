//! Tags: entries of a group are invalidated together, in one step, however many there are.
//! `cargo run --example tags`.

use bellwether::{BuildError, Cache, Tags};

#[derive(Clone, Debug, PartialEq)]
struct Product {
    name: &'static str,
    shop: u32,
    brand: &'static str,
}

fn main() -> Result<(), BuildError> {
    // Tags are made of key and value. Whatever hashes is a tag: here a number and a string.
    let products: Cache<u32, Product> = Cache::builder()
        .max_capacity(10_000)
        .tags_with(|_, product: &Product, tags: &mut Tags<'_>| {
            tags.add(&product.shop);
            tags.add(product.brand);
        })
        .build()?;
    let all = [("pen", 1, "Ink"), ("pencil", 1, "Lead"), ("brush", 2, "Ink"), ("easel", 3, "Oak")];
    for (id, (name, shop, brand)) in (0..).zip(all) {
        products.insert(id, Product { name, shop, brand });
    }
    let left = || -> Vec<_> { (0..4).filter_map(|id| products.get(&id)).map(|product| product.name).collect() };

    products.invalidate_tag("Ink");
    println!("without the brand Ink: {:?}", left());
    assert_eq!(left(), ["pencil", "easel"]);

    products.invalidate_tag(&1_u32);
    println!("without shop 1:        {:?}", left());
    assert_eq!(left(), ["easel"]);
    Ok(())
}
