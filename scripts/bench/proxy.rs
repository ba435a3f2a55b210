//! The network of the tests as a program: `proxy link` is one, `proxy source` and `proxy measure` tell how good it is.
//!
//! Standard library alone: `rustc -O --edition 2024 proxy.rs`. See `proxy.sh`.

#[allow(dead_code, reason = "tests break more than a benchmark does")]
#[path = "../../tests/it/link.rs"]
mod link;

use link::Line;
use link::Link;
use std::error::Error;
use std::io;
use std::io::BufRead;
use std::io::Read;
use std::io::Write;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::thread;
use std::time::Duration;
use std::time::Instant;

const USAGE: &str = "usage:
  proxy link SERVER [--port PORT] [--rtt-ms MILLISECONDS] [--up-mbit RATE] [--down-mbit RATE]
      prints the address it listens on, then obeys lines on standard input:
      cut, reset, refuse, silent, hold, mend; counts (answers with JSON). Ends when standard input does.
  proxy source
      prints its address; answers each byte with one byte, after the byte 'D' sends and 'U' takes without end
  proxy measure ADDRESS SECONDS
      the round trip, and the rates in both directions over 1, 4 and 16 connections, to a source";

const BLOCK: [u8; 256 << 10] = [0; 256 << 10];

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["link", server, ref options @ ..] => link(server.parse()?, options),
        ["source"] => source(),
        ["measure", address, seconds] => measure(address.parse()?, Duration::from_secs_f64(seconds.parse()?)),
        _ => Err(USAGE.into()),
    }
}

fn link(server: SocketAddr, options: &[&str]) -> Result<(), Box<dyn Error>> {
    let mut line = Line::default();
    let mut port = 0;
    for option in options.chunks(2) {
        let [name, value] = option else { return Err(USAGE.into()) };
        let bytes_per_sec = || value.parse::<f64>().map(|mbit| (mbit * 1e6 / 8.0) as u64);
        match *name {
            "--port" => port = value.parse()?,
            "--rtt-ms" => line.delay = Duration::from_secs_f64(value.parse::<f64>()? / 2000.0),
            "--up-mbit" => line.up = bytes_per_sec()?,
            "--down-mbit" => line.down = bytes_per_sec()?,
            _ => return Err(USAGE.into()),
        }
    }
    let link = Link::at(server, line, port)?;
    println!("{}", link.address);
    for order in io::stdin().lock().lines() {
        match order?.trim() {
            "cut" => link.cut(),
            "reset" => link.reset(),
            "refuse" => link.refuse(),
            "silent" => link.fall_silent(),
            "hold" => link.hold(),
            "mend" => link.mend(),
            "counts" => {
                let counts = link.counts();
                println!(
                    "{{\"connections\":{},\"requests\":{},\"bytes_up\":{},\"bytes_down\":{}}}",
                    counts.connections, counts.requests, counts.bytes_up, counts.bytes_down
                );
            }
            _ => eprintln!("{USAGE}"),
        }
    }
    Ok(())
}

fn source() -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    println!("{}", listener.local_addr()?);
    for stream in listener.incoming() {
        let stream = stream?;
        thread::spawn(move || {
            // Ends with the connection.
            let _ = serve(stream);
        });
    }
    Ok(())
}

fn serve(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut byte = [0];
    let mut block = BLOCK;
    loop {
        stream.read_exact(&mut byte)?;
        match byte[0] {
            b'D' => loop {
                stream.write_all(&BLOCK)?;
            },
            b'U' => while stream.read(&mut block)? > 0 {},
            _ => stream.write_all(&byte)?,
        }
    }
}

fn measure(address: SocketAddr, time: Duration) -> Result<(), Box<dyn Error>> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let mut trips = Vec::new();
    for _ in 0..40 {
        let began = Instant::now();
        stream.write_all(b".")?;
        stream.read_exact(&mut [0])?;
        trips.push(began.elapsed());
    }
    trips.sort();
    println!("round trip: median {:.1?}, longest {:.1?}", trips[20], trips[39]);
    for way in [b'D', b'U'] {
        for connections in [1, 4, 16] {
            let threads = (0..connections).map(|_| thread::spawn(move || run(address, way, time)));
            let threads: Vec<_> = threads.collect();
            let mut bytes = 0;
            for thread in threads {
                bytes += thread.join().map_err(|_| "a connection failed")??;
            }
            let name = if way == b'D' { "down" } else { "up" };
            let rate = bytes as f64 * 8.0 / 1e6 / time.as_secs_f64();
            println!("{name}, {connections} connections: {rate:.0} Mbit/s");
        }
    }
    Ok(())
}

/// Bytes moved in this time, after a start of half a second.
fn run(address: SocketAddr, way: u8, time: Duration) -> io::Result<u64> {
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(&[way])?;
    let mut block = BLOCK;
    let begin = Instant::now() + Duration::from_millis(500);
    let mut bytes = 0;
    while Instant::now() < begin + time {
        let moved = if way == b'D' { stream.read(&mut block)? } else { stream.write(&BLOCK)? };
        if Instant::now() >= begin {
            bytes += moved as u64;
        }
    }
    Ok(bytes)
}
