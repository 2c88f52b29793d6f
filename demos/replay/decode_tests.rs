//! Good files and bad ones.

use super::*;
use ruzstd::encoding::{CompressionLevel, compress_to_vec};

fn read(name: &str, bytes: &[u8]) -> Result<Vec<u32>> {
    read_as(name, bytes, Format::Auto, None)
}

fn read_as(name: &str, bytes: &[u8], format: Format, column: Option<&str>) -> Result<Vec<u32>> {
    let column = column.map(|text| text.parse::<Column>().expect("a good column"));
    decode(Path::new(name), bytes.to_vec(), format, column.as_ref()).map(|trace| trace.requests)
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    compress_to_vec(bytes, CompressionLevel::Fastest)
}

fn u32s(keys: &[u32]) -> Vec<u8> {
    keys.iter().flat_map(|key| key.to_le_bytes()).collect()
}

fn u64s(keys: &[u64]) -> Vec<u8> {
    keys.iter().flat_map(|key| key.to_le_bytes()).collect()
}

/// `read` must fail, and say this.
#[track_caller]
fn fails(result: Result<Vec<u32>>, message: &str) {
    let error = result.expect_err(message);
    assert!(error.contains(message), "{error:?} does not say {message:?}");
}

#[test]
fn binary_keys() {
    assert_eq!(read("a.u32", &u32s(&[7, 1 << 31, 7])), Ok(vec![0, 1, 0]));
    assert_eq!(read("a.u64", &u64s(&[7, 7 + (1 << 40), 7])), Ok(vec![0, 1, 0]));
    assert_eq!(read("a.U32.ZST", &zstd(&u32s(&[7, 8, 7]))), Ok(vec![0, 1, 0]));
    assert_eq!(read_as("a.bin", &u64s(&[7, 8]), Format::U64, None), Ok(vec![0, 1]));
    // The name says the one, the user the other.
    assert_eq!(read_as("a.u32", &u64s(&[7, 8]), Format::U64, None), Ok(vec![0, 1]));
}

#[test]
fn truncated_keys() {
    fails(read("a.u32", &[1, 0, 0, 0, 2, 0]), "6 bytes are no multiple of 4");
    fails(read("a.u64", &[1; 12]), "12 bytes are no multiple of 8");
    fails(read("a.u32.zst", &zstd(&[1, 0, 0])), "3 bytes are no multiple of 4");
}

#[test]
fn zstd_files() {
    let keys: Vec<_> = (0..100_000).collect();
    let packed = zstd(&u32s(&keys));
    assert_eq!(read("a.u32.zst", &packed).as_ref(), Ok(&keys));
    // A name that does not tell: the content does.
    assert_eq!(read_as("a", &packed, Format::U32, None).as_ref(), Ok(&keys));
    // Two frames with a skippable one between them.
    let skippable = [&[0x50, 0x2A, 0x4D, 0x18, 3, 0, 0, 0], &[9; 3][..]].concat();
    let twice = read("a.u32.zst", &[&packed, &skippable, &packed[..]].concat()).expect("three frames");
    assert_eq!(twice.len(), 200_000);

    for end in [packed.len() - 1, packed.len() / 2, 5] {
        fails(read("a.u32.zst", &packed[..end]), "broken or truncated zstd frame");
    }
    fails(read("a.u32.zst", &[&packed, &skippable[..9]].concat()), "truncated zstd frame");
    fails(read("a.u32.zst", &[&packed[..], b"rubbish"].concat()), "broken or truncated zstd frame");
    fails(read("a.u32.zst", &u32s(&keys)), "does not begin like a zstd file");
}

#[test]
fn corrupt_zstd_is_noticed() {
    let text: String = (0..5_000).map(|key| format!("{}\n", key * key % 97)).collect();
    let packed = zstd(text.as_bytes());
    let good = read("a.txt.zst", &packed).expect("a good file");
    for at in (8..packed.len()).step_by(packed.len() / 50 + 1) {
        let mut bad = packed.clone();
        bad[at] ^= 0x10;
        // A flipped bit that changes nothing is no harm; one that changes something must not go unseen.
        assert!(read("a.txt.zst", &bad).is_ok_and(|keys| keys == good) || read("a.txt.zst", &bad).is_err(), "{at}");
    }
}

#[test]
fn empty_files() {
    for name in ["a.u32", "a.u64", "a.txt", "a.csv", "a.u32.zst", "a"] {
        fails(read(name, b""), "the file is empty");
    }
    fails(read("a.u32.zst", &zstd(b"")), "nothing in the zstd file");
    fails(read("a.txt", b"\n\n\r\n"), "there is no key in it");
    fails(read("a.csv", b"\n\n"), "there is no row in it");
    fails(read("a.csv", b"time,key\n"), "there is no key in it");
}

#[test]
fn text_files() {
    assert_eq!(read("a.txt", b"x\ny y\r\n\nx"), Ok(vec![0, 1, 0]));
    assert_eq!(read("a.log", "\u{FEFF}ä\nä\n".as_bytes()), Ok(vec![0, 0]));
    assert_eq!(read("a.txt.zst", &zstd(b"x\nx\n")), Ok(vec![0, 0]));
    fails(read("a.txt", b"x\ny\xFF\n"), "not UTF-8 text in line 2");
    fails(read("a.txt", &u32s(&[1, 2])), "zero byte in line 1");
    fails(read("trace.bin", &u32s(&[1, 2])), "so it was read as text; see --format");
}

#[test]
fn text_is_no_binary() {
    fails(read_as("a.txt", b"GET /a\nGET /b\nGET /c", Format::U32, None), "it holds text");
}

#[test]
fn csv_files() {
    let log = b"time,key,size\n1,a,10\n2,\"b,\"\"c\",20\n3,a,10\n";
    assert_eq!(read("a.csv", log), Ok(vec![0, 1, 0]));
    assert_eq!(read_as("a.csv", log, Format::Auto, Some("size")), Ok(vec![0, 1, 0]));
    assert_eq!(read_as("a", log, Format::Csv, Some("time")), Ok(vec![0, 1, 2]));
    assert_eq!(read_as("a.csv", b"1,a\n2,b\n3,a\n", Format::Auto, Some("2")), Ok(vec![0, 1, 0]));
    assert_eq!(read_as("a.log", b"1,a\n2,b\n3,a\n", Format::Auto, Some("2")), Ok(vec![0, 1, 0]));
    assert_eq!(read("a.csv", b"a\nb\na\n"), Ok(vec![0, 1, 0]));
    assert_eq!(read("a.csv.zst", &zstd(log)), Ok(vec![0, 1, 0]));
}

#[test]
fn bad_csv_files() {
    fails(read("a.csv", b"time,url\n1,a\n"), "no column `key` in its first row, see --key-column: time, url");
    fails(
        read_as("a.csv", b"time,url\n1,a\n", Format::Auto, Some("uri")),
        "no column `uri` in its first row: time, url",
    );
    fails(read_as("a.csv", b"1,a\n", Format::Auto, Some("3")), "there is no column 3, only 2");
    fails(read("a.csv", b"time,key\n1,a\n2\n"), "line: 3");
    fails(read("a.csv", b"key\n\xFF\n"), "not UTF-8 text in line 2");
    fails(read_as("a.u32", &u32s(&[1, 2]), Format::Csv, None), "zero byte");
}

#[test]
fn missing_file_is_named() {
    let error = load("no/such/file.u32", Format::Auto, None).expect_err("there is none");
    assert!(error.starts_with("no/such/file.u32: "), "{error}");
}
