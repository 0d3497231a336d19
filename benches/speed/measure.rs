//! Runs programs and says what they cost.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use wait4::Wait4;

/// What a run cost.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    /// From start to end.
    pub wall: Duration,
    /// The most memory that it held, in bytes.
    pub peak: u64,
}

impl Cost {
    /// Seconds from start to end.
    pub fn seconds(self) -> f64 {
        self.wall.as_secs_f64()
    }

    /// How many times slower than another.
    pub fn times(self, other: Self) -> f64 {
        self.seconds() / other.seconds()
    }

    /// The most memory, in megabytes.
    pub fn megabytes(self) -> f64 {
        self.peak as f64 / 1e6
    }
}

/// Runs a program that has to succeed.
///
/// # Errors
/// When it does not.
pub fn run(command: &mut Command) -> Result<Cost, String> {
    run_to(command, 0)
}

/// Runs a program that has to find that nobody listens.
///
/// # Errors
/// When it does not.
pub fn run_until_away(command: &mut Command) -> Result<Cost, String> {
    run_to(command, 75)
}

#[allow(clippy::disallowed_methods, reason = "a benchmark is about nothing but the clock")]
fn run_to(command: &mut Command, code: i32) -> Result<Cost, String> {
    let start = Instant::now();
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("{command:?}: {error}"))?;
    let ended = child.wait4().map_err(|error| error.to_string())?;
    let wall = start.elapsed();
    if ended.status.code() != Some(code) {
        return Err(format!("{command:?}: {}", ended.status));
    }
    Ok(Cost { wall, peak: ended.rusage.maxrss })
}

/// The run in the middle of several. `prepare` is not measured.
///
/// # Errors
/// When one fails.
pub fn median(
    times: usize,
    mut prepare: impl FnMut() -> Result<(), String>,
    mut command: impl FnMut() -> Command,
) -> Result<Cost, String> {
    let mut costs = Vec::new();
    for _ in 0..times {
        prepare()?;
        costs.push(run(&mut command())?);
    }
    costs.sort_by_key(|cost| cost.wall);
    Ok(costs[costs.len() / 2])
}
