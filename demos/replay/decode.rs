//! From a file to a trace, or to a message that says what is wrong with the file.

use crate::{
    args::{Column, Format},
    trace::Trace,
};
use csv::{ByteRecord, Reader, ReaderBuilder};
use ruzstd::decoding::{FrameDecoder, StreamingDecoder, errors};
use std::{
    ffi::OsStr,
    fs,
    io::{Error, ErrorKind, Read},
    path::Path,
    result,
    str::{self, Utf8Error},
};

/// What every zstd frame begins with. No UTF-8 text does, and of the binary traces one in four billion.
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xB5, 0x2F, 0xFD];
/// How far back a frame may refer: what the zstd tool itself allows, and enough for its highest level.
const ZSTD_WINDOW: u64 = 128 << 20;
/// A binary trace of more bytes than this, all of them letters, digits and the like, is a text by the wrong name.
const SURELY_TEXT: usize = 16;

type Result<T, E = String> = result::Result<T, E>;

/// Reads a trace. The error names the file.
pub(crate) fn load(path: impl AsRef<Path>, format: Format, column: Option<&Column>) -> Result<Trace> {
    let path = path.as_ref();
    let bytes = fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    decode(path, bytes, format, column).map_err(|error| format!("{}: {error}", path.display()))
}

fn decode(path: &Path, bytes: Vec<u8>, format: Format, column: Option<&Column>) -> Result<Trace> {
    let (stem, is_zst) = match path.extension() {
        Some(extension) if extension.eq_ignore_ascii_case("zst") => (path.with_extension(""), true),
        _ => (path.to_owned(), false),
    };
    if bytes.is_empty() {
        return Err("the file is empty".into());
    }
    let is_zstd = bytes.starts_with(&ZSTD_MAGIC);
    if is_zst && !is_zstd {
        return Err("its name ends in .zst, but it does not begin like a zstd file".into());
    }
    let bytes = if is_zstd { unzstd(&bytes)? } else { bytes };
    if bytes.is_empty() {
        return Err("there is nothing in the zstd file".into());
    }

    let name = stem.file_stem().unwrap_or(OsStr::new("trace")).to_string_lossy().into_owned();
    let by_name = named_format(&stem);
    let chosen = match format {
        Format::Auto => match by_name.unwrap_or(Format::Text) {
            // Lines have columns if the user says so.
            Format::Text if column.is_some() => Format::Csv,
            named => named,
        },
        chosen => chosen,
    };
    let trace = match chosen {
        Format::U32 => binary::<4>(name, &bytes, |key| u32::from_le_bytes(key).into()),
        Format::U64 => binary::<8>(name, &bytes, u64::from_le_bytes),
        Format::Csv => table(name, &bytes, column),
        Format::Text | Format::Auto => lines(name, &bytes),
    };
    trace.map_err(|error| match (format, by_name) {
        // A guess that did not work out should be seen as one.
        (Format::Auto, None) => {
            format!("{error} (its name does not tell its format, so it was read as text; see --format)")
        }
        _ => error,
    })
}

/// The format that the end of a name stands for, if it does.
fn named_format(name: &Path) -> Option<Format> {
    match name.extension()?.to_ascii_lowercase().to_str()? {
        "u32" => Some(Format::U32),
        "u64" => Some(Format::U64),
        "csv" => Some(Format::Csv),
        "txt" | "text" => Some(Format::Text),
        _ => None,
    }
}

/// All that is in a zstd file, which is one frame or several.
fn unzstd(mut packed: &[u8]) -> Result<Vec<u8>> {
    use errors::{FrameDecoderError::ReadFrameHeaderError, ReadFrameHeaderError::SkipFrame};

    let broken = |error: &(dyn std::error::Error + 'static)| format!("broken or truncated zstd frame: {}", root(error));
    let mut decoder = FrameDecoder::new();
    decoder.set_max_window_size(ZSTD_WINDOW);
    let mut bytes = Vec::new();
    while !packed.is_empty() {
        let mut frame = match StreamingDecoder::new_with_decoder(&mut packed, &mut decoder) {
            Ok(frame) => frame,
            Err(ReadFrameHeaderError(SkipFrame { length, .. })) => {
                packed = packed.get(length as usize..).ok_or("truncated zstd frame")?;
                continue;
            }
            Err(error) => return Err(broken(&error)),
        };
        frame.read_to_end(&mut bytes).map_err(|error| broken(&error))?;
        // The decoder leaves the comparison to its caller.
        let promised = decoder.get_checksum_from_data();
        if promised.is_some() && promised != decoder.get_calculated_checksum() {
            return Err("broken zstd frame: the checksum does not match".into());
        }
    }
    Ok(bytes)
}

/// What the others in a chain of errors are about.
fn root(error: &(dyn std::error::Error + 'static)) -> String {
    let mut root = error;
    while let Some(source) = root.source() {
        root = source;
    }
    match root.downcast_ref::<Error>().map(Error::kind) {
        Some(ErrorKind::UnexpectedEof) => "it ends too early".into(),
        _ => root.to_string(),
    }
}

fn binary<const SIZE: usize>(name: String, bytes: &[u8], key: impl Fn([u8; SIZE]) -> u64) -> Result<Trace> {
    if !bytes.len().is_multiple_of(SIZE) {
        let length = bytes.len();
        return Err(format!("truncated, or no trace of {SIZE}-byte keys: {length} bytes are no multiple of {SIZE}"));
    }
    let is_letter = |byte: &u8| byte.is_ascii_graphic() || byte.is_ascii_whitespace();
    if bytes.len() > SURELY_TEXT && bytes.iter().all(is_letter) {
        return Err(format!("it holds text, not keys of {SIZE} bytes"));
    }
    let keys = bytes.chunks_exact(SIZE).filter_map(|chunk| chunk.try_into().ok()).map(key);
    Ok(Trace::renumber(name, keys)?)
}

fn lines(name: String, bytes: &[u8]) -> Result<Trace> {
    let keys = text(bytes)?.lines().filter(|line| !line.is_empty());
    Ok(Trace::renumber(name, keys)?)
}

/// The file as text, without the mark that some editors put at its beginning.
fn text(bytes: &[u8]) -> Result<&str> {
    let line = |end: usize| 1 + bytes[..end].iter().filter(|&&byte| byte == b'\n').count();
    // Binary keys that are small enough are valid UTF-8, but full of zeros.
    if let Some(zero) = bytes.iter().position(|&byte| byte == 0) {
        return Err(format!("not a text: there is a zero byte in line {}", line(zero)));
    }
    let not_utf8 = |error: Utf8Error| format!("not UTF-8 text in line {}", line(error.valid_up_to()));
    let text = str::from_utf8(bytes).map_err(not_utf8)?;
    Ok(text.strip_prefix('\u{FEFF}').unwrap_or(text))
}

fn table(name: String, bytes: &[u8], column: Option<&Column>) -> Result<Trace> {
    let text = text(bytes)?;
    // The reader is not told of the first row's role: what that is depends on what is in it.
    let mut reader = ReaderBuilder::new().has_headers(false).from_reader(text.as_bytes());
    let mut first = ByteRecord::new();
    if !reader.read_byte_record(&mut first).map_err(|error| error.to_string())? {
        return Err("there is no row in it".into());
    }
    let find = |name: &str| first.iter().position(|field| field == name.as_bytes());
    let columns = || first.iter().take(20).map(String::from_utf8_lossy).collect::<Vec<_>>().join(", ");
    let (index, has_names) = match column {
        Some(Column::Index(index)) if *index < first.len() => (*index, false),
        Some(Column::Index(index)) => {
            return Err(format!("there is no column {}, only {}", index + 1, first.len()));
        }
        Some(Column::Name(name)) => {
            let index = find(name).ok_or_else(|| format!("no column `{name}` in its first row: {}", columns()))?;
            (index, true)
        }
        None => match find("key") {
            Some(index) => (index, true),
            None if first.len() == 1 => (0, false),
            None => return Err(format!("no column `key` in its first row, see --key-column: {}", columns())),
        },
    };
    let first = (!has_names).then_some(first);
    column_keys(name, first, reader, index)
}

/// The keys of one column: that of the first row, if it is data, and those of the rows that are still unread.
fn column_keys(name: String, first: Option<ByteRecord>, reader: Reader<&[u8]>, index: usize) -> Result<Trace> {
    let mut failure = None;
    let rest = reader.into_byte_records().map_while(|row| row.map_err(|error| failure = Some(error)).ok());
    // The reader sees to it that all rows have as many fields as the first one.
    let keys = first.into_iter().chain(rest).map(|row| row[index].to_vec());
    let trace = Trace::renumber(name, keys);
    match failure {
        Some(error) => Err(error.to_string()),
        None => Ok(trace?),
    }
}

#[cfg(test)]
#[path = "decode_tests.rs"]
mod tests;
