//! How fast crieur is, beside a floor that does the least that must be done, and beside Hugo, in
//! one run: `cargo bench --bench speed -- build 500 5000`.

#![allow(clippy::print_stdout, clippy::print_stderr, clippy::cast_precision_loss)]
#![allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]

mod compose;
mod floor;
mod hugo;
mod mail;
mod measure;
mod site;

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use measure::{Cost, median};
use site::{NOW, Shape};

type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

const USAGE: &str = "usage: cargo bench --bench speed -- [build [POSTINGS…] | mixed [POSTINGS…] | mail [RECIPIENTS…]]";

fn main() -> ExitCode {
    let arguments: Vec<String> =
        std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match run(&arguments.iter().map(String::as_str).collect::<Vec<_>>()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[&str]) -> Result {
    let numbers = |given: &[&str], usual: &[usize]| -> Result<Vec<usize>> {
        let given = given.iter().map(|n| n.parse()).collect::<std::result::Result<Vec<_>, _>>()?;
        Ok(if given.is_empty() { usual.to_vec() } else { given })
    };
    match arguments {
        // The floors run as programs of their own, so that their memory can be told.
        ["floor-read", site] => {
            floor::read(Path::new(site))?;
        }
        ["floor-build", site, like, out] => {
            floor::build(Path::new(site), Path::new(like), Path::new(out))?;
        }
        ["compose", site] => {
            compose::compose(Path::new(site))?;
        }
        ["site", folder, postings, open, recipients] => {
            let shape = Shape {
                postings: postings.parse()?,
                open: open.parse()?,
                recipients: recipients.parse()?,
            };
            site::write(Path::new(folder), shape)?;
        }
        [] => {
            builds(&[500, 5_000, 50_000, 100_000], 100)?;
            builds(&[5_000, 50_000], 14)?;
            mail::mails(&[1_000, 100_000, 1_000_000])?;
        }
        ["build", rest @ ..] => builds(&numbers(rest, &[500, 5_000])?, 100)?,
        ["mixed", rest @ ..] => builds(&numbers(rest, &[500, 5_000])?, 14)?,
        ["mail", rest @ ..] => mail::mails(&numbers(rest, &[1_000, 50_000])?)?,
        _ => return Err(USAGE.into()),
    }
    Ok(())
}

/// A folder in memory: file systems on disks differ too much, and slow down as they fill.
fn scratch() -> Result<tempfile::TempDir> {
    let folder = std::env::var_os("CRIEUR_BENCH_DIR").map(PathBuf::from);
    let memory = Path::new("/dev/shm");
    let folder = folder
        .unwrap_or_else(|| if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() });
    Ok(tempfile::tempdir_in(folder)?)
}

fn crieur(site: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_crieur"));
    command.arg("--site").arg(site).arg("--now").arg(NOW);
    command
}

fn floor(arguments: &[&dyn AsRef<std::ffi::OsStr>]) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(arguments.iter().map(AsRef::as_ref));
    Ok(command)
}

fn remove(folder: &Path) -> std::result::Result<(), String> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.to_string()),
        _ => Ok(()),
    }
}

fn builds(sizes: &[usize], open: usize) -> Result {
    let hugo = hugo::find();
    println!("\nBuild, {open} of 100 postings open (seconds; megabytes at most)\n");
    println!(
        "| postings | crieur | MB | floor | crieur ÷ floor | Hugo | MB | Hugo ÷ crieur | unchanged | reading | unchanged ÷ reading | one changed | changed ÷ full |"
    );
    println!(
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    );
    for postings in sizes {
        build(Shape { postings: *postings, open, recipients: 0 }, hugo.as_deref())?;
    }
    Ok(())
}

fn build(shape: Shape, hugo: Option<&Path>) -> Result {
    let scratch = scratch()?;
    let site = scratch.path().join("site");
    site::write(&site, shape)?;
    let (out, private) = (site.join("out"), site.join(".crieur"));
    let times = if shape.postings > 20_000 { 3 } else { 5 };

    let fresh = || remove(&out).and_then(|()| remove(&private));
    let build = || {
        let mut command = crieur(&site);
        command.arg("build");
        command
    };
    let full = median(times, fresh, build)?;
    let unchanged = median(times, || Ok(()), build)?;
    let mut number = 0;
    let touch = || {
        number += 1;
        // One that is open.
        let from = number * shape.postings / 10;
        let open = (from..from + 100).find(|number| number * 37 % 100 < shape.open);
        site::touch(&site, open.unwrap_or_default()).map_err(|error| error.to_string())
    };
    let changed = median(times, touch, build)?;

    let reading = floor(&[&"floor-read", &site])?;
    let reading = median(times, || Ok(()), || again(&reading))?;
    let bare = scratch.path().join("floor");
    let rendering = floor(&[&"floor-build", &site, &out, &bare])?;
    let rendering = median(times, || remove(&bare), || again(&rendering))?;
    remove(&bare)?;
    remove(&out)?;

    let peer = hugo.map(|program| -> Result<Cost> {
        let folder = scratch.path().join("hugo");
        hugo::prepare(&site, &folder)?;
        let public = folder.join("public");
        let times = if shape.postings > 20_000 { 1 } else { 3 };
        Ok(median(times, || remove(&public), || hugo::command(program, &folder))?)
    });
    let peer = peer.transpose()?;
    println!(
        "| {} | {:.2} | {:.0} | {:.2} | {:.2} | {} | {} | {} | {:.3} | {:.3} | {:.2} | {:.3} | {:.3} |",
        shape.postings,
        full.seconds(),
        full.megabytes(),
        rendering.seconds(),
        full.times(rendering),
        said(peer, |peer| format!("{:.1}", peer.seconds())),
        said(peer, |peer| format!("{:.0}", peer.megabytes())),
        said(peer, |peer| format!("{:.1}", peer.times(full))),
        unchanged.seconds(),
        reading.seconds(),
        unchanged.times(reading),
        changed.seconds(),
        changed.times(full),
    );
    Ok(())
}

fn said(cost: Option<Cost>, say: impl Fn(Cost) -> String) -> String {
    cost.map_or_else(|| "–".to_owned(), say)
}

/// The same command once more.
fn again(command: &Command) -> Command {
    let mut again = Command::new(command.get_program());
    again.args(command.get_args());
    again
}
