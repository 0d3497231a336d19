//! `recipients.csv`: the same columns as the keys of the YAML file, for long lists, read as a
//! stream. A cell that holds several values separates them with `;` or `,`.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::ops::Range;

use csv::{ByteRecord, ReaderBuilder};

use super::{Entry, KEYS, Recipient, Remark, suggestion};
use crate::diagnostics::{Code, Diagnostic, Severity};
use crate::text;

/// How many problems are kept: a file that is none of ours has one in every line.
const MAX_PROBLEMS: usize = 100;

/// The keys whose cells hold several values.
const LISTS: &[&str] = &["domains", "teams", "contracts", "lead_days"];

/// A problem, before the line that it is in was read again to be shown.
struct Problem {
    line: usize,
    severity: Severity,
    code: Code,
    message: String,
    help: String,
    /// What to underline: the text of a cell.
    cell: String,
}

/// Reads the list. A problem with one line is one for that line alone. The separator is what the
/// header uses more of, and cells that are not UTF-8 are read as Windows-1252: spreadsheets write
/// both.
///
/// # Errors
/// When the file cannot be read.
pub fn read(
    path: &str,
    mut file: impl Read + Seek,
) -> io::Result<(Vec<Recipient>, Vec<Diagnostic>)> {
    let separator = separator(&mut file)?;
    let mut reader = ReaderBuilder::new()
        .delimiter(separator)
        .flexible(true)
        .trim(csv::Trim::All)
        .from_reader(BufReader::new(file));
    let (mut recipients, mut problems) = (Vec::new(), Vec::new());
    let header = reader.byte_headers().map_err(io::Error::other)?.clone();
    let columns = columns(&header, &mut problems);
    let mut seen: HashMap<String, usize> = HashMap::new();
    let mut record = ByteRecord::new();
    while columns.contains(&Some("email"))
        && reader.read_byte_record(&mut record).map_err(io::Error::other)?
    {
        let line = record.position().map_or(0, csv::Position::line);
        let line = usize::try_from(line).unwrap_or(usize::MAX);
        let (entry, cells) = entry(&columns, &record);
        let found = entry.check(|remark: Remark| {
            problems.push(Problem {
                line,
                severity: remark.severity,
                code: remark.code,
                message: remark.message,
                help: remark.help.to_owned(),
                cell: cells.get(remark.span.start).cloned().unwrap_or_default(),
            });
        });
        let Some(recipient) = found else { continue };
        if let Some(first) = seen.get(&recipient.key()) {
            problems.push(Problem {
                line,
                severity: Severity::Warning,
                code: Code::DuplicateRecipient,
                message: format!("the address stands in line {first} already; that line counts"),
                help: "delete one of the two".to_owned(),
                cell: recipient.email,
            });
        } else {
            seen.insert(recipient.key(), line);
            recipients.push(recipient);
        }
    }
    let mut file = reader.into_inner();
    file.seek(SeekFrom::Start(0))?;
    Ok((recipients, shown(path, file, problems)?))
}

/// What stands between cells, by the header.
fn separator(file: &mut (impl Read + Seek)) -> io::Result<u8> {
    let mut header = Vec::new();
    BufReader::new(file.by_ref().take(4096)).read_until(b'\n', &mut header)?;
    file.seek(SeekFrom::Start(0))?;
    let header = String::from_utf8_lossy(&header);
    let count = |separator: u8| header.matches(char::from(separator)).count();
    let most = [b',', b';', b'\t'].into_iter().max_by_key(|separator| count(*separator));
    Ok(most.filter(|separator| count(*separator) > 0).unwrap_or(b','))
}

/// The key of each column.
fn columns(header: &ByteRecord, problems: &mut Vec<Problem>) -> Vec<Option<&'static str>> {
    let mut report = |severity, code, message, help: String, cell: &str| {
        let cell = cell.to_owned();
        problems.push(Problem { line: 1, severity, code, message, help, cell });
    };
    let columns: Vec<_> = header
        .iter()
        .map(|cell| {
            let name = decoded(cell);
            let known = KEYS.iter().copied().find(|key| *key == text::folded(&name));
            if known.is_none() && !name.is_empty() {
                let message = format!("the column `{name}` is not known here");
                let (severity, code) = (Severity::Warning, Code::UnknownKey);
                report(severity, code, message, suggestion(&name), &name);
            }
            known
        })
        .collect();
    if !columns.contains(&Some("email")) {
        let message = "the mailing list has no column `email`".to_owned();
        let help = "write the names of the columns into the first line: `email,name`".to_owned();
        report(Severity::Error, Code::InvalidRecipient, message, help, "");
    }
    columns
}

/// An entry whose spans are the numbers of cells, and those cells.
fn entry(columns: &[Option<&'static str>], record: &ByteRecord) -> (Entry, Vec<String>) {
    let cells: Vec<String> = record.iter().map(decoded).collect();
    let place = |number: usize| Range { start: number, end: number + 1 };
    let mut entry = Entry { span: place(0), ..Entry::default() };
    for (number, (column, cell)) in columns.iter().zip(&cells).enumerate() {
        let Some(key) = column.filter(|_| !cell.is_empty()) else { continue };
        let separator = if cell.contains(';') { ';' } else { ',' };
        let values = if LISTS.contains(&key) {
            cell.split(separator).map(str::to_owned).collect()
        } else {
            vec![cell.clone()]
        };
        entry.values.insert(key, (values, place(number)));
    }
    (entry, cells)
}

fn decoded(cell: &[u8]) -> String {
    let text = str::from_utf8(cell)
        .map_or_else(|_| encoding_rs::WINDOWS_1252.decode(cell).0.into_owned(), str::to_owned);
    text.trim_start_matches('\u{FEFF}').trim().to_owned()
}

/// The problems with the lines that they are in.
fn shown(
    path: &str,
    file: impl BufRead,
    mut problems: Vec<Problem>,
) -> io::Result<Vec<Diagnostic>> {
    problems.sort_by_key(|problem| problem.line);
    let more = problems.len().saturating_sub(MAX_PROBLEMS);
    problems.truncate(MAX_PROBLEMS);
    let mut shown = Vec::with_capacity(problems.len());
    let mut lines = (1..).zip(file.split(b'\n'));
    let mut current = (0, String::new());
    for problem in problems {
        while current.0 < problem.line
            && let Some((number, line)) = lines.next()
        {
            current = (number, decoded(&line?));
        }
        let start = current.1.find(&problem.cell).unwrap_or(0);
        let end =
            start + if problem.cell.is_empty() { current.1.len() } else { problem.cell.len() };
        shown.push(
            Diagnostic::new(problem.severity, problem.code, path, problem.message)
                .at_line(problem.line, &current.1, &(start..end))
                .help(problem.help),
        );
    }
    if more > 0 {
        let message = format!("{more} more problems are not shown");
        shown.push(Diagnostic::new(Severity::Warning, Code::InvalidRecipient, path, message));
    }
    Ok(shown)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    fn list(content: &[u8]) -> (Vec<Recipient>, Vec<String>) {
        let (recipients, problems) = read("r.csv", Cursor::new(content)).unwrap();
        let problems = problems
            .iter()
            .map(|p| format!("{}:{}:{} {}", p.code, p.line(), p.column(), p.message))
            .collect();
        (recipients, problems)
    }

    fn emails(content: &str) -> Vec<String> {
        list(content.as_bytes()).0.into_iter().map(|recipient| recipient.email).collect()
    }

    #[test]
    fn one_bad_line_is_one_bad_line() {
        let (good, problems) = list(
            b"email,name,domain\na@example.org,A,\nnot an address,B\n,C\n\"b@example.org\",\"D, E\"\nA@EXAMPLE.org\n",
        );
        assert_eq!(good.len(), 2);
        assert_eq!(good[1].name.as_deref(), Some("D, E"));
        assert_eq!(
            problems,
            [
                "unknown-key:1:12 the column `domain` is not known here",
                "invalid-recipient:3:1 `not an address` is not a mail address",
                "invalid-recipient:4:1 this entry has no `email`",
                "duplicate-recipient:6:1 the address stands in line 2 already; that line counts",
            ]
        );
    }

    #[test]
    fn spreadsheets_write_in_many_ways() {
        let expected = ["a@example.org", "b@example.org"];
        for content in [
            "email\na@example.org\nb@example.org\n",
            "\u{FEFF}Email;Name\r\na@example.org;A\r\n\r\nb@example.org;B\r\n",
            "name\temail\nA\ta@example.org\nB\tb@example.org",
            "name,email\n\"two\nlines\",a@example.org\nB,b@example.org\n",
        ] {
            assert_eq!(emails(content), expected, "{content}");
        }
        let (latin, _) = list(b"email;name\na@example.org;Zo\xEB\n");
        assert_eq!(latin[0].name.as_deref(), Some("Zoë"));
    }

    #[test]
    fn cells_hold_several_values() {
        let (recipients, problems) = list(
            "email,domains,lead_days,weekday\na@example.org,Design;Dév,5 2,Tue\nb@example.org,\"x, y\",\"7,1\",\n".as_bytes(),
        );
        assert!(problems.is_empty(), "{problems:?}");
        assert_eq!(recipients[0].domains, ["design", "dev"]);
        assert_eq!(recipients[0].lead_days.as_deref(), Some(&[5, 2][..]));
        assert_eq!(recipients[1].domains, ["x", "y"]);
        assert_eq!(recipients[1].lead_days.as_deref(), Some(&[7, 1][..]));
    }

    #[test]
    fn what_is_no_list_says_so_once() {
        for content in ["", "a@example.org\nb@example.org\n", "nom,adresse\n1,2\n"] {
            let (good, problems) = list(content.as_bytes());
            assert!(good.is_empty());
            assert!(problems.iter().any(|p| p.contains("no column `email`")), "{problems:?}");
        }
        let many = format!("email\n{}", "x\n".repeat(1000));
        assert_eq!(list(many.as_bytes()).1.len(), MAX_PROBLEMS + 1);
    }
}
