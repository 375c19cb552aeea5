//! `prometheus-node-exporter`, started for the measurement alone.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const SCRAPES: u32 = 50;

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// CPU time and wall time of one scrape with the collectors that are on by default, and the bytes of it.
pub(crate) fn cost_of_a_scrape(binary: &Path) -> Result<(Duration, Duration, usize), String> {
    if !binary.exists() {
        return Err(format!("{} is not installed", binary.display()));
    }
    measure(binary).map_err(|error| error.to_string())
}

fn measure(binary: &Path) -> io::Result<(Duration, Duration, usize)> {
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
    let child = Command::new(binary)
        .arg(format!("--web.listen-address={free}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let running = Running(child);
    let began = Instant::now();
    let mut bytes = loop {
        match scrape(free) {
            Err(error) if began.elapsed() > Duration::from_secs(10) => return Err(error),
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
            Ok(bytes) => break bytes,
        }
    };
    let of = || super::cpu_of_process(running.0.id()).ok_or(io::ErrorKind::NotFound);
    let (before, began) = (of()?, Instant::now());
    for _ in 0..SCRAPES {
        bytes = scrape(free)?;
    }
    Ok((of()?.saturating_sub(before) / SCRAPES, began.elapsed() / SCRAPES, bytes))
}

fn scrape(from: SocketAddr) -> io::Result<usize> {
    let mut stream = TcpStream::connect(from)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut text = Vec::new();
    stream.read_to_end(&mut text)?;
    Ok(text.len())
}
