//! A connection to a mail server: lines in, bytes out, in time, and TLS where it is wanted.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use lettre::transport::smtp::response::Response;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use crate::clock::Deadline;

/// How long a reply may be, in bytes: no server has so much to say.
const MAX_REPLY: usize = 64 * 1024;

/// A socket from which nothing is read after an instant, however slowly it comes: TLS reads again and
/// again until it has a record.
struct Socket {
    stream: TcpStream,
    until: Option<Deadline>,
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(until) = &self.until else { return self.stream.read(buffer) };
        loop {
            let left = until.left().ok_or_else(late)?;
            self.stream.set_read_timeout(Some(left))?;
            match self.stream.read(buffer) {
                // The time is over, or nearly.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {}
                read => return read,
            }
        }
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// A connection, plain or not.
pub(super) struct Wire {
    stream: Stream,
    /// What was read and not used yet.
    buffer: Vec<u8>,
}

enum Stream {
    Plain(Socket),
    Tls(Box<StreamOwned<ClientConnection, Socket>>),
}

impl Wire {
    /// Connects, in time.
    pub(super) fn open(address: &SocketAddr, time: Duration) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(address, time)?;
        // Commands are short, and each waits for its answer.
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(time))?;
        let socket = Socket { stream, until: None };
        Ok(Self { stream: Stream::Plain(socket), buffer: Vec::new() })
    }

    fn socket(&mut self) -> &mut Socket {
        match &mut self.stream {
            Stream::Plain(socket) => socket,
            Stream::Tls(stream) => &mut stream.sock,
        }
    }

    /// Changes to TLS. What came unencrypted before its time is not trusted (RFC 3207 section 4.2).
    pub(super) fn encrypt(
        &mut self,
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
        time: Duration,
    ) -> io::Result<()> {
        if !self.buffer.is_empty() {
            return Err(io::Error::other("the server spoke before TLS began"));
        }
        let until = Some(Deadline::after(time));
        let socket = Socket { stream: self.socket().stream.try_clone()?, until };
        let connection = ClientConnection::new(config, name).map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(connection, socket);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        self.stream = Stream::Tls(Box::new(stream));
        Ok(())
    }

    /// Writes everything.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.stream {
            Stream::Plain(stream) => stream.write_all(bytes),
            Stream::Tls(stream) => stream.write_all(bytes).and_then(|()| stream.flush()),
        }
    }

    /// Reads a reply (RFC 5321 section 4.2), in time.
    pub(super) fn reply(&mut self, time: Duration) -> io::Result<Response> {
        let deadline = Deadline::after(time);
        let mut texts: Vec<String> = Vec::new();
        let mut length = 0;
        loop {
            let line = self.line(&deadline)?;
            let code: String = line.chars().take(3).collect();
            let rest = line.get(code.len()..).unwrap_or_default();
            let (mark, text) = match rest.chars().next() {
                // Some servers leave out the text, and the space with it.
                None => (' ', ""),
                // What is no code begins no reply: it may be another protocol.
                Some(mark @ (' ' | '-')) if code.bytes().all(|byte| byte.is_ascii_digit()) => {
                    (mark, &rest[1..])
                }
                Some(_) => return Err(malformed(&line)),
            };
            texts.push(text.to_owned());
            length += line.len();
            if length > MAX_REPLY {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a reply without end"));
            }
            if mark == ' ' {
                return understood(&code, texts).ok_or_else(|| malformed(&line));
            }
        }
    }

    /// A line without its end.
    fn line(&mut self, deadline: &Deadline) -> io::Result<String> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return Ok(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
            if self.buffer.len() > MAX_REPLY {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a line without end"));
            }
            self.socket().until = Some(*deadline);
            let mut chunk = [0; 4096];
            let read = match self.read(&mut chunk) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => read?,
            };
            if read == 0 {
                let closed = "the server closed the connection";
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, closed));
            }
            self.buffer.extend_from_slice(&chunk[..read]);
        }
    }

    fn read(&mut self, chunk: &mut [u8]) -> io::Result<usize> {
        match &mut self.stream {
            Stream::Plain(stream) => stream.read(chunk),
            Stream::Tls(stream) => stream.read(chunk),
        }
    }

    /// Whether the server has nothing to say at the moment. One that closes, or answers before it
    /// was asked, does not take what would be sent next.
    pub(super) fn is_quiet(&mut self) -> io::Result<bool> {
        let socket = self.socket();
        socket.until = None;
        socket.stream.set_nonblocking(true)?;
        let mut chunk = [0; 4096];
        let read = self.read(&mut chunk);
        self.socket().stream.set_nonblocking(false)?;
        match read {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(self.buffer.is_empty()),
            Err(error) => Err(error),
            Ok(0) => {
                let closed = "the server closed the connection";
                Err(io::Error::new(io::ErrorKind::UnexpectedEof, closed))
            }
            Ok(read) => {
                self.buffer.extend_from_slice(&chunk[..read]);
                Ok(false)
            }
        }
    }
}

/// A reply with the code of its last line. Of a code that nobody knows the first digit counts
/// (RFC 5321 section 4.2.1).
fn understood(code: &str, mut texts: Vec<String>) -> Option<Response> {
    let known = match code.as_bytes() {
        [first @ b'2'..=b'5', second, third]
            if second.is_ascii_digit() && third.is_ascii_digit() =>
        {
            if *second <= b'5' {
                code.to_owned()
            } else {
                format!("{}00", char::from(*first))
            }
        }
        _ => return None,
    };
    if known != code
        && let Some(first) = texts.first_mut()
    {
        *first = format!("{code} {first}");
    }
    let last = texts.len().checked_sub(1)?;
    let line = |(at, text): (usize, &String)| {
        format!("{known}{}{text}\r\n", if at == last { ' ' } else { '-' })
    };
    texts.iter().enumerate().map(line).collect::<String>().parse().ok()
}

fn late() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the server did not answer in time")
}

fn malformed(line: &str) -> io::Error {
    let shown: String = line.chars().filter(|c| !c.is_control()).take(60).collect();
    io::Error::new(io::ErrorKind::InvalidData, format!("the server answered `{shown}`"))
}
