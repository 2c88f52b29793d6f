//! Filling a new database: 500 products, and orders of four products each.

use rusqlite::{Connection, params};

const PRODUCTS: u32 = 500;
const CATEGORIES: [&str; 5] = ["tea", "coffee", "spices", "honey", "pottery"];
const ORIGINS: [&str; 10] = ["Assam", "Bergen", "Cusco", "Dakar", "Evora", "Fez", "Galle", "Hanoi", "Izmir", "Jaipur"];
const KINDS: [&str; 10] =
    ["morning", "evening", "garden", "harbour", "market", "mountain", "river", "summer", "winter", "village"];

/// Makes the tables and fills them, unless they are filled.
///
/// Each order has the product 1, and three others, which an arithmetic of the order's number picks:
/// each new database is the same.
pub(super) fn fill(connection: &mut Connection, schema: &str, orders: u32) -> rusqlite::Result<()> {
    let change = connection.transaction()?;
    change.execute_batch(schema)?;
    let filled: bool = change.query_row("SELECT EXISTS (SELECT 1 FROM products)", [], |row| row.get(0))?;
    if filled {
        return change.commit();
    }
    {
        let mut insert = change.prepare("INSERT INTO products VALUES (?1, ?2, ?3, ?4)")?;
        for id in 1..=PRODUCTS {
            let at = |list: &[&'static str], number: u32| list[number as usize % list.len()];
            let category = at(&CATEGORIES, id - 1);
            let name = format!("{} {} {category} no. {id}", at(&ORIGINS, id / 5), at(&KINDS, id / 50));
            insert.execute(params![id, name, category, 250 + id * 7919 % 4000])?;
        }
    }
    change.execute(
        "WITH RECURSIVE orders (number) AS (SELECT 1 UNION ALL SELECT number + 1 FROM orders WHERE number < ?1),
             line (place) AS (VALUES (0), (1), (2), (3))
         INSERT OR IGNORE INTO order_lines
         SELECT number, CASE place WHEN 0 THEN 1
             ELSE 2 + abs((number * 2654435761 + place * 40503) % 1000003) * (number % 7 + place) % (?2 - 1) END
         FROM orders, line ORDER BY number, place",
        [orders, PRODUCTS],
    )?;
    change.execute_batch("ANALYZE")?;
    change.commit()
}
