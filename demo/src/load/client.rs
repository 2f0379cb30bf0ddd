//! A small HTTP/1.1 client for one path over one connection: cheap, so that the
//! load takes little of the CPUs that the service needs.

use std::{io, net::SocketAddr};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};

use crate::phase;

/// A response larger than this is not one of the lab's.
const MAX_BODY: u64 = 64 << 20;

pub(crate) struct Client {
    target: SocketAddr,
    request: Vec<u8>,
    connection: Option<BufReader<TcpStream>>,
}

impl Client {
    pub(crate) fn new(target: SocketAddr, path: &str, phase: u64) -> Self {
        let header = phase::HEADER;
        let request = format!("GET {path} HTTP/1.1\r\nhost: {target}\r\n{header}: {phase}\r\n\r\n");
        Client {
            target,
            request: request.into_bytes(),
            connection: None,
        }
    }

    /// Sends the request and reads the whole response; its status.
    pub(crate) async fn get(&mut self) -> io::Result<u16> {
        // Taken, so that an error or a cancelled call never leaves a connection
        // with half an answer in it.
        let mut connection = if let Some(connection) = self.connection.take() {
            connection
        } else {
            let stream = TcpStream::connect(self.target).await?;
            stream.set_nodelay(true)?;
            BufReader::new(stream)
        };
        connection.write_all(&self.request).await?;
        let (status, keep) = receive(&mut connection).await?;
        if keep {
            self.connection = Some(connection);
        }
        Ok(status)
    }
}

async fn receive(connection: &mut BufReader<TcpStream>) -> io::Result<(u16, bool)> {
    let mut line = String::new();
    connection.read_line(&mut line).await?;
    let status = line
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .ok_or_else(|| malformed("status line"))?;
    let mut length = None;
    let mut keep = true;
    loop {
        line.clear();
        if connection.read_line(&mut line).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().ok();
        } else if name.eq_ignore_ascii_case("connection") {
            keep = !value.trim().eq_ignore_ascii_case("close");
        }
    }
    let length: u64 = length.ok_or_else(|| malformed("response without a length"))?;
    if length > MAX_BODY {
        return Err(malformed("length"));
    }
    tokio::io::copy(&mut connection.take(length), &mut tokio::io::sink()).await?;
    Ok((status, keep))
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("malformed {what}"))
}
