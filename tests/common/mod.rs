//! A site in a folder of its own, and the real program run on it.
#![allow(dead_code, reason = "each test uses a part of it")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// The settings that tests begin with.
pub const SETTINGS: &str = "title: Offres\nurl: https://jobs.example.org/\nmail: { from: \"Offres <offres@example.org>\" }\n";

pub struct Site {
    folder: TempDir,
}

/// What a run printed and how it ended.
#[derive(Debug)]
pub struct Output {
    pub stdout: String,
    pub stderr: String,
    pub code: i32,
}

impl Output {
    /// Asserts the exit code, and shows everything when it is another.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}:\n{}", self.stdout))
    }
}

impl Site {
    pub fn new() -> Self {
        let site = Self::empty();
        site.write("content/site.yaml", SETTINGS);
        fs::create_dir_all(site.path("content/postings")).unwrap();
        site
    }

    /// A folder without anything in it.
    pub fn empty() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    /// A copy of a folder.
    pub fn copy(from: &Path) -> Self {
        let site = Self::empty();
        for entry in walkdir::WalkDir::new(from) {
            let entry = entry.unwrap();
            if entry.file_type().is_file() {
                let name = entry.path().strip_prefix(from).unwrap();
                site.write(name.to_str().unwrap(), fs::read(entry.path()).unwrap());
            }
        }
        site
    }

    pub fn root(&self) -> &Path {
        self.folder.path()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// A posting from the lines of its front matter.
    pub fn posting(&self, name: &str, yaml: &str) {
        self.write(&format!("content/postings/{name}"), format!("---\n{yaml}\n---\n\nText.\n"));
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    pub fn exists(&self, name: &str) -> bool {
        self.path(name).exists()
    }

    pub fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_crieur"));
        command.current_dir(self.root()).env_clear().env("TZ", "Pacific/Kiritimati");
        command
    }

    /// The shell in the site's folder, with the program on its path. It knows nothing of whoever runs
    /// the tests: with `CRIEUR_SITE` in its environment, the commands of a page would be run on a site
    /// of theirs.
    pub fn shell(&self, script: &str) -> Command {
        let program = Path::new(env!("CARGO_BIN_EXE_crieur")).parent().unwrap();
        let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
        let mut shell = Command::new("sh");
        shell.args(["-c", script]).current_dir(self.root()).env_clear();
        shell.env("PATH", path).env("HOME", self.root()).env("CRIEUR_NOW", "2026-09-01");
        shell
    }

    /// Runs the program in the site's folder. The machine's own time zone is the farthest from any
    /// site's: nothing may depend on it.
    pub fn run(&self, arguments: &[&str]) -> Output {
        let output = self.command().args(arguments).output().unwrap();
        Output {
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
            code: output.status.code().unwrap_or(-1),
        }
    }

    /// Runs the program in a shell that does something first: sets its umask, or limits.
    pub fn run_after(&self, first: &str, arguments: &[&str]) -> Output {
        let program = env!("CARGO_BIN_EXE_crieur");
        let mut shell = self.shell(&format!("{first}; exec \"$0\" \"$@\""));
        let output = shell.arg(program).args(arguments).output().unwrap();
        Output {
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
            code: output.status.code().unwrap_or(-1),
        }
    }

    /// Every file below a folder of the site with its bytes.
    pub fn files(&self, below: &str) -> BTreeMap<String, Vec<u8>> {
        let root = self.path(below);
        walkdir::WalkDir::new(&root)
            .into_iter()
            .filter_map(Result::ok)
            .filter(|entry| entry.file_type().is_file())
            .filter_map(|entry| {
                let name = entry.path().strip_prefix(&root).unwrap().to_str().unwrap();
                // A running build may have moved it since it was listed.
                Some((name.replace('\\', "/"), fs::read(entry.path()).ok()?))
            })
            .collect()
    }

    /// Every file below a folder of the site with the time at which it was last written.
    pub fn times(&self, below: &str) -> BTreeMap<String, std::time::SystemTime> {
        let names = self.files(below).into_keys();
        names
            .map(|name| {
                let modified = fs::metadata(self.path(below).join(&name)).unwrap().modified();
                (name, modified.unwrap())
            })
            .collect()
    }
}
