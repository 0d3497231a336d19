//! The machine's own mail system, by the command that all of them have.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{Connection, Delivery, Letter, Transport, Unavailable};

/// Where the command is when it is not on the path, as it is not for cron.
const USUAL: &[&str] = &["/usr/sbin/sendmail", "/usr/lib/sendmail"];

/// Hands messages to a command.
#[derive(Debug, Clone)]
pub struct Sendmail {
    /// The command.
    pub command: PathBuf,
}

impl Sendmail {
    /// The command of this name, or the machine's own.
    pub fn new(command: Option<&Path>) -> Self {
        let usual = || USUAL.iter().map(Path::new).find(|path| path.exists());
        let command = command.or_else(usual).unwrap_or_else(|| Path::new("sendmail"));
        Self { command: command.to_owned() }
    }

    fn hand_over(&self, letter: &Letter<'_>) -> Delivery {
        let name = self.command.display();
        let child = Command::new(&self.command)
            // A dot on a line of its own is no end; the rest are addresses, whatever they look like.
            .args(["-i", "-f", letter.from.as_ref(), "--", letter.to.as_ref()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = match child {
            Ok(child) => child,
            Err(error) => return Delivery::Broken(format!("cannot start `{name}`: {error}")),
        };
        // Commands read lines as the machine ends them.
        let text = String::from_utf8_lossy(letter.bytes).replace("\r\n", "\n");
        let written = match child.stdin.take() {
            Some(mut input) => input.write_all(text.as_bytes()),
            None => Err(io::Error::other("it has no input")),
        };
        if let Err(error) = &written
            && error.kind() != io::ErrorKind::BrokenPipe
        {
            // It must not go on with half a message.
            let _ = child.kill();
        }
        let output = match child.wait_with_output() {
            Ok(output) => output,
            Err(error) => return Delivery::InDoubt(format!("`{name}`: {error}")),
        };
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.lines().next().unwrap_or("no reason given").to_owned();
        match (output.status.code(), written) {
            (Some(0), Ok(())) => Delivery::Accepted,
            (Some(0), Err(error)) => Delivery::InDoubt(format!("`{name}` took a part: {error}")),
            // `sysexits.h`: no user, no host, an address or message that is none.
            (Some(code @ (65 | 67 | 68)), _) => Delivery::Refused {
                reason: format!("`{name}` ended with {code}: {said}"),
                address: matches!(code, 67 | 68),
            },
            (Some(code), _) => Delivery::Deferred(format!("`{name}` ended with {code}: {said}")),
            (None, Ok(())) => Delivery::InDoubt(format!("`{name}` was killed: {said}")),
            (None, Err(error)) => Delivery::Broken(format!("`{name}`: {error}")),
        }
    }
}

impl Transport for Sendmail {
    fn connections(&self) -> usize {
        1
    }

    fn connect(&self) -> Result<Box<dyn Connection + '_>, Unavailable> {
        let is_path = self.command.components().count() > 1;
        if is_path && !self.command.exists() {
            let command = self.command.display();
            let message = format!("there is no `{command}`: correct `mail.sendmail`");
            return Err(Unavailable::Misconfigured(message));
        }
        Ok(Box::new(self.clone()))
    }
}

impl Connection for Sendmail {
    fn send(&mut self, letter: &Letter<'_>) -> Delivery {
        self.hand_over(letter)
    }
}
