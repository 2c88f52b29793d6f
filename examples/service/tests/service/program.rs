//! The service as a program: its environment, its start, its end.

use crate::support::BOUND;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

fn program(environment: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bellwether-service"));
    for name in ["HOST", "PORT", "REDIS_URL", "DATABASE", "CONNECTIONS", "ORDERS", "DEADLINE_MS"] {
        command.env_remove(name);
    }
    command.env("ORDERS", "200").envs(environment.iter().copied());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Waits for the program's end, and returns its code and what it wrote as errors.
fn end_of(mut program: Child) -> (Option<i32>, String) {
    let end = Instant::now() + BOUND;
    let status = loop {
        if let Some(status) = program.try_wait().unwrap() {
            break status;
        }
        if Instant::now() > end {
            program.kill().unwrap();
            panic!("the program does not end");
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let mut text = String::new();
    program.stderr.take().unwrap().read_to_string(&mut text).unwrap();
    (status.code(), text)
}

#[test]
fn a_bad_setting_is_told_and_nothing_starts() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    for (environment, told) in [
        (&[("PORT", "http")][..], "PORT=\"http\": expected a port from 0 (a free one) to 65535"),
        (&[("HOST", "nowhere")], "HOST=\"nowhere\": expected an IP address like 127.0.0.1 or 0.0.0.0"),
        (&[("REDIS_URL", "localhost")], "REDIS_URL=\"…\": expected an address like redis://127.0.0.1:6379/"),
        (&[("PORT", "0"), ("REDIS_URL", "redis://:/")], "REDIS_URL"),
        (&[("DEADLINE_MS", "soon")], "DEADLINE_MS=\"soon\": expected a number of milliseconds from 1 to 60000"),
        (&[("PORT", "0"), ("DATABASE", "/nowhere/at/all")], "the database: /nowhere/at/all: "),
        (&[("PORT", &port)], &format!("cannot listen at 127.0.0.1:{port}: ")),
    ] {
        let (code, text) = end_of(program(environment).spawn().unwrap());
        assert_eq!(code, Some(1), "{environment:?}: {text}");
        assert!(text.starts_with("bellwether-service: ") && text.contains(told), "{environment:?}: {text}");
        assert_eq!(text.lines().count(), 1, "{text}");
    }
}

#[cfg(unix)]
#[test]
fn a_signal_ends_it_in_good_order_and_leaves_no_file() {
    for signal in ["-TERM", "-INT"] {
        let folder = tempfile::tempdir().unwrap();
        let mut service = program(&[("PORT", "0"), ("TMPDIR", folder.path().to_str().unwrap())]).spawn().unwrap();
        assert!(address_of(&mut service).starts_with("127.0.0.1:"));
        assert_eq!(folder.path().read_dir().unwrap().count(), 1, "the database is there");
        assert!(Command::new("kill").args([signal, &service.id().to_string()]).status().unwrap().success());
        assert_eq!(end_of(service), (Some(0), "stopping\n".to_owned()), "{signal}");
        assert_eq!(folder.path().read_dir().unwrap().count(), 0, "the database is gone");
    }
}

/// Returns the address of a program that has just been started.
#[cfg(unix)]
fn address_of(program: &mut Child) -> String {
    let mut line = String::new();
    BufReader::new(program.stdout.take().unwrap()).read_line(&mut line).unwrap();
    line.trim().strip_prefix("http://").expect("an address").trim_end_matches('/').to_owned()
}

#[cfg(unix)]
fn terminate(program: &Child) {
    assert!(Command::new("kill").args(["-TERM", &program.id().to_string()]).status().unwrap().success());
}

#[cfg(unix)]
#[test]
fn a_request_in_progress_is_answered_at_the_end() {
    let mut service = program(&[("PORT", "0"), ("DEADLINE_MS", "60000")]).spawn().unwrap();
    let address = address_of(&mut service);
    let mut stream = TcpStream::connect(&address).unwrap();
    stream.set_read_timeout(Some(BOUND)).unwrap();
    let body = r#"{"name":"Last tea","category":"tea","price_cents":1}"#;
    let head = "PUT /products/9 HTTP/1.1\r\nHost: x\r\nConnection: close\r\nExpect: 100-continue\r\n";
    write!(stream, "{head}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n", body.len()).unwrap();
    // The handler has begun, and wants the body.
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    assert_eq!(line, "HTTP/1.1 100 Continue\r\n");
    terminate(&service);
    let end = Instant::now() + BOUND;
    while TcpStream::connect(&address).is_ok() {
        assert!(Instant::now() < end, "it takes connections on and on");
        std::thread::sleep(Duration::from_millis(5));
    }
    stream.write_all(body.as_bytes()).unwrap();
    let mut answer = String::new();
    reader.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("HTTP/1.1 200 OK"), "{answer}");
    assert_eq!(end_of(service), (Some(0), "stopping\n".to_owned()));
}

#[cfg(unix)]
#[test]
fn a_database_of_its_own_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("shop.sqlite");
    let ask = |method: &str, body: &str| {
        let mut service = program(&[("PORT", "0"), ("DATABASE", file.to_str().unwrap())]).spawn().unwrap();
        let mut stream = TcpStream::connect(address_of(&mut service)).unwrap();
        stream.set_read_timeout(Some(BOUND)).unwrap();
        let head = format!("{method} /products/9 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n");
        let kind = "Content-Type: application/json\r\n";
        write!(stream, "{head}{kind}Content-Length: {}\r\n\r\n{body}", body.len()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        terminate(&service);
        assert_eq!(end_of(service).0, Some(0));
        answer
    };
    assert!(ask("PUT", r#"{"name":"Kept tea","category":"tea","price_cents":1}"#).contains("200 OK"));
    assert!(ask("GET", "").contains("Kept tea"));
}
