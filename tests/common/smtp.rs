//! A mail server on a loopback port that does what a script says: it behaves, answers what it is
//! told to, drops connections, falls silent, or speaks TLS with whatever certificate it is given.
#![allow(dead_code, reason = "each test uses a part of it")]

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// What the server does at a step, instead of behaving.
#[derive(Debug, Clone)]
pub enum Act {
    /// Answers this. Nothing is accepted, whatever it says.
    Say(&'static str),
    /// Closes the connection.
    Drop,
    /// Accepts the message and closes the connection without a word.
    AcceptAndDrop,
    /// Says nothing until the client goes away.
    Stall,
}

/// A step of a session: which one, for which recipient, and how often it has come to it before.
pub struct Step<'a> {
    pub name: &'a str,
    pub recipient: &'a str,
    pub before: usize,
}

type Script = dyn Fn(&Step<'_>) -> Option<Act> + Send + Sync;

/// A message that the server took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    pub recipient: String,
    pub message: Vec<u8>,
}

impl Accepted {
    pub fn header(&self, name: &str) -> String {
        let text = String::from_utf8_lossy(&self.message).replace("\r\n ", " ");
        let prefix = format!("{name}: ");
        let line = text.lines().find_map(|line| line.strip_prefix(&prefix));
        line.unwrap_or_else(|| panic!("no {name} in:\n{text}")).to_owned()
    }
}

#[derive(Default)]
struct Seen {
    accepted: Vec<Accepted>,
    commands: Vec<String>,
    counts: HashMap<(String, String), usize>,
    connections: usize,
}

pub struct Server {
    pub port: u16,
    seen: Arc<Mutex<Seen>>,
    /// The certificate of the authority to trust, in PEM.
    pub authority: String,
}

#[derive(Clone)]
pub struct Options {
    /// The lines of the answer to EHLO, beside the name.
    pub offers: Vec<&'static str>,
    /// TLS from the first byte on.
    pub tls: bool,
    /// The name in the certificate.
    pub name: &'static str,
    pub script: Arc<Script>,
}

impl Options {
    pub fn new(script: impl Fn(&Step<'_>) -> Option<Act> + Send + Sync + 'static) -> Self {
        let offers = vec!["PIPELINING", "8BITMIME", "SMTPUTF8", "SIZE 1000000"];
        Self { offers, tls: false, name: "127.0.0.1", script: Arc::new(script) }
    }

    pub fn offers(self, offers: &[&'static str]) -> Self {
        Self { offers: offers.to_vec(), ..self }
    }
}

impl Server {
    pub fn start(options: Options) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let (tls, authority) = certificate(options.name);
        let shared = seen.clone();
        // It ends with the test's process.
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (options, tls, seen) = (options.clone(), tls.clone(), shared.clone());
                seen.lock().unwrap().connections += 1;
                // A client that is gone is no failure of the server's.
                thread::spawn(move || {
                    let _ = serve(stream, &options, &tls, &seen);
                });
            }
        });
        Self { port, seen, authority }
    }

    pub fn behaving() -> Self {
        Self::start(Options::new(|_| None))
    }

    pub fn accepted(&self) -> Vec<Accepted> {
        let mut accepted = self.seen.lock().unwrap().accepted.clone();
        accepted.sort_by(|a, b| a.recipient.cmp(&b.recipient));
        accepted
    }

    pub fn recipients(&self) -> Vec<String> {
        self.accepted().into_iter().map(|accepted| accepted.recipient).collect()
    }

    pub fn commands(&self) -> Vec<String> {
        self.seen.lock().unwrap().commands.clone()
    }

    pub fn connections(&self) -> usize {
        self.seen.lock().unwrap().connections
    }
}

fn certificate(name: &str) -> (Arc<ServerConfig>, String) {
    let authority_key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = params.self_signed(&authority_key).unwrap();
    let issuer = Issuer::new(params, authority_key);
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from(certificate.der().to_vec())],
            PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        )
        .unwrap();
    (Arc::new(config), authority.pem())
}

trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

fn encrypted(stream: TcpStream, config: &Arc<ServerConfig>) -> Box<dyn Stream> {
    let connection = ServerConnection::new(config.clone()).unwrap();
    Box::new(StreamOwned::new(connection, stream))
}

/// One session. Ends with an error when the client does.
fn serve(
    socket: TcpStream,
    options: &Options,
    tls: &Arc<ServerConfig>,
    seen: &Mutex<Seen>,
) -> std::io::Result<()> {
    let stream: Box<dyn Stream> = match options.tls {
        true => encrypted(socket.try_clone()?, tls),
        false => Box::new(socket.try_clone()?),
    };
    let mut stream = BufReader::new(stream);
    let mut recipient = String::new();
    // Answers a step, by the script or else as it should be. `false` when the session is over.
    let act = |name: &str, recipient: &str| {
        let mut seen = seen.lock().unwrap();
        let count = seen.counts.entry((name.to_owned(), recipient.to_owned())).or_default();
        let before = *count;
        *count += 1;
        drop(seen);
        (options.script)(&Step { name, recipient, before })
    };
    macro_rules! answer {
        ($name:expr, $usual:expr) => {
            match act($name, &recipient) {
                None => {
                    stream.get_mut().write_all(format!("{}\r\n", $usual).as_bytes())?;
                    stream.get_mut().flush()?;
                    true
                }
                Some(Act::Say(text)) => {
                    stream.get_mut().write_all(format!("{text}\r\n").as_bytes())?;
                    stream.get_mut().flush()?;
                    if text.starts_with("421") {
                        return Ok(());
                    }
                    false
                }
                Some(Act::Stall) => {
                    let mut rest = Vec::new();
                    stream.read_to_end(&mut rest)?;
                    return Ok(());
                }
                Some(Act::Drop | Act::AcceptAndDrop) => return Ok(()),
            }
        };
    }
    answer!("banner", "220 mx.example.org ESMTP");
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let line = line.trim_end().to_owned();
        seen.lock().unwrap().commands.push(line.clone());
        let word = line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
        match word.as_str() {
            "EHLO" => {
                let mut lines = vec!["mx.example.org".to_owned()];
                lines.extend(options.offers.iter().map(|offer| (*offer).to_owned()));
                let last = lines.len() - 1;
                let marks = (0..=last).map(|n| if n == last { ' ' } else { '-' });
                let text: Vec<String> =
                    marks.zip(lines).map(|(mark, line)| format!("250{mark}{line}")).collect();
                answer!("ehlo", text.join("\r\n"));
            }
            "STARTTLS" => {
                if answer!("starttls", "220 go ahead") {
                    stream = BufReader::new(encrypted(socket.try_clone()?, tls));
                }
            }
            "AUTH" => {
                let plain = line.strip_prefix("AUTH PLAIN ");
                // user, secret
                let right = match plain {
                    Some(secret) => secret == "AHVzZXIAc2VjcmV0",
                    None if line == "AUTH LOGIN" => {
                        let mut right = true;
                        for (question, expected) in
                            [("VXNlcm5hbWU6", "dXNlcg=="), ("UGFzc3dvcmQ6", "c2VjcmV0")]
                        {
                            stream.get_mut().write_all(format!("334 {question}\r\n").as_bytes())?;
                            stream.get_mut().flush()?;
                            let mut given = String::new();
                            stream.read_line(&mut given)?;
                            right &= given.trim_end() == expected;
                        }
                        right
                    }
                    None => line == "AUTH XOAUTH2 dXNlcj11c2VyAWF1dGg9QmVhcmVyIHNlY3JldAEB",
                };
                if right {
                    answer!("auth", "235 welcome");
                } else if line.starts_with("AUTH XOAUTH2") {
                    stream.get_mut().write_all(b"334 eyJzdGF0dXMiOiI0MDEifQ==\r\n")?;
                    stream.get_mut().flush()?;
                    let mut heard = String::new();
                    stream.read_line(&mut heard)?;
                    answer!("auth", "535 5.7.8 no");
                } else {
                    answer!("auth", "535 5.7.8 no");
                }
            }
            "MAIL" => {
                recipient.clear();
                answer!("mail", "250 ok");
            }
            "RCPT" => {
                let address = line.split(['<', '>']).nth(1).unwrap_or_default().to_owned();
                recipient = address;
                if !answer!("rcpt", "250 ok") {
                    recipient.clear();
                }
            }
            "DATA" if recipient.is_empty() => {
                stream.get_mut().write_all(b"503 nobody to send to\r\n")?;
                stream.get_mut().flush()?;
            }
            "DATA" => {
                if !answer!("data", "354 go ahead") {
                    continue;
                }
                let mut message = Vec::new();
                if let Some(Act::Drop) = act("text", &recipient) {
                    // In the midst of the text.
                    return Ok(());
                }
                loop {
                    let mut line = Vec::new();
                    if stream.read_until(b'\n', &mut line)? == 0 {
                        return Ok(());
                    }
                    if line == b".\r\n" {
                        break;
                    }
                    let stuffed = usize::from(line.starts_with(b"."));
                    message.extend_from_slice(&line[stuffed..]);
                }
                let accepted = Accepted { recipient: recipient.clone(), message };
                match act("dot", &recipient) {
                    None => {
                        seen.lock().unwrap().accepted.push(accepted);
                        stream.get_mut().write_all(b"250 queued\r\n")?;
                        stream.get_mut().flush()?;
                    }
                    Some(Act::AcceptAndDrop) => {
                        seen.lock().unwrap().accepted.push(accepted);
                        return Ok(());
                    }
                    Some(Act::Drop) => return Ok(()),
                    Some(Act::Stall) => {
                        let mut rest = Vec::new();
                        stream.read_to_end(&mut rest)?;
                        return Ok(());
                    }
                    Some(Act::Say(text)) => {
                        stream.get_mut().write_all(format!("{text}\r\n").as_bytes())?;
                        stream.get_mut().flush()?;
                        if text.starts_with("421") {
                            return Ok(());
                        }
                    }
                }
                recipient.clear();
            }
            "RSET" | "NOOP" => {
                recipient.clear();
                stream.get_mut().write_all(b"250 ok\r\n")?;
                stream.get_mut().flush()?;
            }
            "QUIT" => {
                stream.get_mut().write_all(b"221 bye\r\n")?;
                stream.get_mut().flush()?;
                return Ok(());
            }
            _ => {
                stream.get_mut().write_all(b"502 what\r\n")?;
                stream.get_mut().flush()?;
            }
        }
    }
}
