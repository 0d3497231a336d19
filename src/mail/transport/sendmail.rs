//! The machine's own mail system, by the command that all of them have.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use wait_timeout::ChildExt;

use super::{Connection, Delivery, Letter, Transport, Unavailable};

/// Where the command is when it is not on the path, as it is not for cron.
const USUAL: &[&str] = &["/usr/sbin/sendmail", "/usr/lib/sendmail"];

/// How long to wait for what a command that has ended said.
const A_MOMENT: Duration = Duration::from_secs(1);
/// How many times longer than an answer of a server handing over a message may take.
const PATIENCE: u32 = 10;

/// Whether a file can be run.
fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

/// Hands messages to a command.
#[derive(Debug, Clone)]
pub struct Sendmail {
    command: PathBuf,
    timeout: Duration,
}

impl Sendmail {
    /// The command of this name, or the machine's own. A name alone is looked for on the path, as a
    /// shell would; a path begins at `root`.
    pub fn new(command: Option<&Path>, root: &Path, timeout: Duration) -> Self {
        let usual = || USUAL.iter().map(Path::new).find(|path| path.exists());
        let given = command.filter(|command| !command.as_os_str().is_empty());
        let command = given.or_else(usual).unwrap_or_else(|| Path::new("sendmail"));
        let command = if is_name(command) { command.to_owned() } else { root.join(command) };
        Self { command, timeout: timeout * PATIENCE }
    }

    /// Whether there is such a command: at its place, or on the path.
    fn exists(&self) -> bool {
        if !is_name(&self.command) {
            return is_program(&self.command);
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|folder| is_program(&folder.join(&self.command)))
    }

    fn hand_over(&self, letter: &Letter<'_>) -> Delivery {
        let name = self.command.display();
        // Commands read lines as the machine ends them.
        let text = String::from_utf8_lossy(letter.bytes).replace("\r\n", "\n");
        // From a file without a name: whatever becomes of us, the command reads a whole message.
        let input = match input(text.as_bytes()) {
            Ok(input) => input,
            Err(error) => return Delivery::Broken(format!("cannot keep the message: {error}")),
        };
        let child = Command::new(&self.command)
            // A dot on a line of its own is no end; the rest are addresses, whatever they look like.
            .args(["-i", "-f", letter.from.as_ref(), "--", letter.to.as_ref()])
            .stdin(input)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = match child {
            Ok(child) => child,
            Err(error) => return Delivery::Broken(format!("cannot start `{name}`: {error}")),
        };
        let complaints = child.stderr.take();
        // What it leaves behind in the background may go on complaining, and is not waited for.
        let (say, said) = mpsc::channel();
        thread::spawn(move || {
            let mut first = Vec::new();
            if let Some(complaints) = complaints {
                let _ = complaints.take(1000).read_to_end(&mut first);
            }
            let _ = say.send(String::from_utf8_lossy(&first).lines().next().map(str::to_owned));
        });
        let status = match child.wait_timeout(self.timeout) {
            Ok(Some(status)) => status,
            late => {
                let _ = child.kill();
                let _ = child.wait();
                return Delivery::InDoubt(match late {
                    Err(error) => format!("`{name}`: {error}"),
                    _ => format!("`{name}` did not end in time"),
                });
            }
        };
        let said = said.recv_timeout(A_MOMENT).ok().flatten();
        let said = said.unwrap_or_else(|| "no reason given".to_owned());
        match status.code() {
            Some(0) => Delivery::Accepted,
            // `sysexits.h`: no user, no host, an address or message that is none.
            Some(code @ (65 | 67 | 68)) => Delivery::Refused {
                reason: format!("`{name}` ended with {code}: {said}"),
                address: matches!(code, 67 | 68),
            },
            Some(code) => Delivery::Deferred(format!("`{name}` ended with {code}: {said}")),
            None => Delivery::InDoubt(format!("`{name}` was killed: {said}")),
        }
    }
}

/// A file without a name that holds a message, and is read from its beginning.
fn input(message: &[u8]) -> io::Result<File> {
    let mut file = tempfile::tempfile()?;
    file.write_all(message)?;
    file.rewind()?;
    Ok(file)
}

fn is_name(command: &Path) -> bool {
    command.components().count() == 1
}

impl Transport for Sendmail {
    fn connections(&self) -> usize {
        1
    }

    fn connect(&self) -> Result<Box<dyn Connection + '_>, Unavailable> {
        if !self.exists() {
            let command = self.command.display();
            let message = format!("there is no `{command}`: correct `mail.sendmail`");
            return Err(Unavailable::Misconfigured(message));
        }
        Ok(Box::new(self.clone()))
    }
}

impl Connection for Sendmail {
    fn end(&mut self, letter: &Letter<'_>, _next: Option<&Letter<'_>>) -> Delivery {
        self.hand_over(letter)
    }
}
