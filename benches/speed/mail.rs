//! Planning, composing and sending, beside Postfix's `smtp-source`: a client that sends the same
//! bytes again and again, without a ledger, and without asking what became of them.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::measure::{Cost, run, run_until_away};
use crate::site::{self, Shape};
use crate::{Result, crieur, remove};

/// How many postings are open.
const POSTINGS: usize = 500;

/// Postfix's `smtp-sink`, which takes everything.
struct Sink {
    program: Child,
    port: u16,
}

impl Sink {
    /// Starts it. `None` where it is not installed.
    fn start() -> Result<Option<Self>> {
        let port = free_port()?;
        let program = Command::new("smtp-sink")
            .args(["-u", "root", &format!("127.0.0.1:{port}"), "1000"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let Ok(program) = program else { return Ok(None) };
        let mut sink = Self { program, port };
        for _ in 0..100 {
            if TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok() {
                return Ok(Some(sink));
            }
            if sink.program.try_wait()?.is_some() {
                return Ok(None);
            }
            thread::sleep(Duration::from_millis(50));
        }
        Ok(None)
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        // One that is gone already is gone.
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// Prints what mail to so many recipients costs.
pub fn mails(sizes: &[usize]) -> Result {
    println!("\nMail about {POSTINGS} open postings (seconds; megabytes at most)\n");
    println!(
        "| recipients | digests | bytes each | plan | MB | compose | MB | connections | plan, compose, send | MB | digests a second | smtp-source | ÷ smtp-source |"
    );
    println!(
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    );
    sizes.iter().try_for_each(|recipients| mail(*recipients))
}

fn mail(recipients: usize) -> Result {
    let scratch = crate::scratch()?;
    let folder = scratch.path().join("site");
    site::write(&folder, Shape { postings: POSTINGS, open: 100, recipients })?;
    let settings = fs::read_to_string(folder.join("content/site.yaml"))?;
    let sends_to = |port: u16, connections: usize| {
        let smtp = format!(
            "reminders: {{ lead_days: [30, 7, 3, 1] }}\nmail:\n  transport: smtp\n  smtp: {{ host: 127.0.0.1, port: {port}, security: none, connections: {connections}, retry_after: [] }}\n"
        );
        fs::write(folder.join("content/site.yaml"), settings.replace("mail:\n", &smtp))
    };
    let remind = || {
        let mut command = crieur(&folder);
        command.arg("remind");
        command
    };
    let private = folder.join(".crieur");

    // Nobody listens: everything is planned and written down, and nothing is sent.
    sends_to(free_port()?, 1)?;
    let plan = run_until_away(&mut remind())?;
    let compose = run(&mut crate::floor(&[&"compose", &folder])?)?;
    let Some(sink) = Sink::start()? else {
        println!(
            "| {recipients} | – | – | {:.2} | {:.0} | {:.2} | {:.0} | no `smtp-sink` here |",
            plan.seconds(),
            plan.megabytes(),
            compose.seconds(),
            compose.megabytes(),
        );
        return Ok(());
    };
    let (digests, size) = messages(&folder)?;
    // A million over one connection says no more than a hundred thousand do.
    let all: &[usize] = if recipients > 200_000 { &[10] } else { &[1, 10, 50] };
    for connections in all.iter().copied() {
        sends_to(sink.port, connections)?;
        remove(&private)?;
        let whole = run(&mut remind())?;
        let sending = whole.seconds() - plan.seconds();
        let rate = digests as f64 / sending;
        let peer = peer(&sink, connections, size)?;
        println!(
            "| {recipients} | {digests} | {size} | {:.2} | {:.0} | {:.2} | {:.0} | {connections} | {:.2} | {:.0} | {rate:.0} | {peer:.0} | {:.2} |",
            plan.seconds(),
            plan.megabytes(),
            compose.seconds(),
            compose.megabytes(),
            whole.seconds(),
            whole.megabytes(),
            rate / peer,
        );
    }
    Ok(())
}

/// How many digests were planned, and how large their messages are: the mean of a few hundred that
/// are written as files, in bytes.
fn messages(folder: &Path) -> Result<(usize, usize)> {
    let mut dry = crieur(folder);
    // What it prints of a million digests is nobody's memory.
    let dry = dry.args(["remind", "--dry-run"]).stdout(Stdio::null()).output()?;
    let said = String::from_utf8_lossy(&dry.stderr).into_owned();
    let digests = said.split_whitespace().next().and_then(|number| number.parse().ok());
    let digests = digests.ok_or_else(|| format!("a dry run said: {said}"))?;

    let some = folder.join("some");
    fs::create_dir_all(some.join("content"))?;
    let settings = fs::read_to_string(folder.join("content/site.yaml"))?;
    fs::write(
        some.join("content/site.yaml"),
        settings.replace("transport: smtp", "transport: file"),
    )?;
    std::os::unix::fs::symlink(folder.join("content/postings"), some.join("content/postings"))?;
    // What this program holds when it starts another counts as the other's memory.
    let list = BufReader::new(fs::File::open(folder.join("content/recipients.csv"))?);
    let lines = list.lines().take(501).collect::<std::io::Result<Vec<_>>>()?;
    fs::write(some.join("content/recipients.csv"), lines.join("\n"))?;
    run(crieur(&some).arg("remind"))?;
    let sizes = fs::read_dir(some.join(".crieur/outbox"))?
        .map(|file| Ok(file?.metadata()?.len()))
        .collect::<std::io::Result<Vec<u64>>>()?;
    remove(&some)?;
    let mean = sizes.iter().sum::<u64>() / (sizes.len() as u64).max(1);
    Ok((digests, usize::try_from(mean)?))
}

/// How many messages of a size `smtp-source` sends in a second over so many connections.
fn peer(sink: &Sink, connections: usize, size: usize) -> Result<f64> {
    const MESSAGES: usize = 20_000;
    let mut command = Command::new("smtp-source");
    command.args(["-d", "-f", "a@example.org", "-t", "b@example.org"]);
    command.args(["-s", &connections.to_string(), "-m", &MESSAGES.to_string()]);
    command.args(["-l", &size.to_string(), &format!("127.0.0.1:{}", sink.port)]);
    let cost: Cost = run(&mut command)?;
    Ok(MESSAGES as f64 / cost.seconds())
}
