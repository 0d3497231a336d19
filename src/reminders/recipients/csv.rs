//! `recipients.csv`: the same columns as the keys of the YAML file, for long lists, read as a
//! stream. A cell that holds several values separates them with `;` or `,`.
//!
//! A line is an entry, whatever quotes are open at its end: a quote that somebody forgot to close
//! must not swallow the people below it.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read, Seek};
use std::ops::Range;

use csv_core::{ReadRecordResult, Reader, ReaderBuilder};

use super::{Entry, KEYS, Recipient, Remark, key, split, suggestion};
use crate::diagnostics::{Code, Diagnostic, Severity};
use crate::text;

/// How many problems are kept: a file that is none of ours has one in every line.
const MAX_PROBLEMS: usize = 100;
/// How long a line may be, in bytes.
const MAX_LINE: usize = 64 * 1024;

/// Reads the list as a whole.
///
/// # Errors
/// When the file cannot be read.
pub fn read(path: &str, file: impl Read + Seek) -> io::Result<(Vec<Recipient>, Vec<Diagnostic>)> {
    let mut rows = Rows::new(path, file)?;
    let recipients = rows.by_ref().collect::<io::Result<_>>()?;
    Ok((recipients, rows.problems()))
}

/// The recipients of a list, one after another. A problem with one line is one for that line alone.
/// The separator is what the header uses most of, and lines that are not UTF-8 are read as
/// Windows-1252: spreadsheets write both.
///
/// However long the list is, little of it is in memory: a first reading takes eight bytes of each
/// address, to find those that may stand there twice, and only these are kept while it is read.
pub struct Rows<R> {
    lines: Lines<BufReader<R>>,
    cells: Cells,
    columns: Vec<Option<&'static str>>,
    problems: Problems,
    /// The keys that may stand there twice, by what was taken of them, with the lines in which they
    /// stood first.
    doubles: HashMap<u64, HashMap<String, usize>>,
}

impl<R: Read + Seek> Rows<R> {
    /// Begins to read.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn new(path: &str, mut file: R) -> io::Result<Self> {
        let mut first = Rows::start(path, &mut file)?;
        let mut taken: Vec<u64> = Vec::new();
        while let Some((_, line)) = first.next_line()? {
            taken.extend(first.address(&line).map(|email| short(&key(&text::composed(email)))));
        }
        drop(first);
        taken.sort_unstable();
        let doubles = taken.windows(2).filter(|pair| pair[0] == pair[1]);
        let doubles = doubles.map(|pair| (pair[0], HashMap::new())).collect();
        file.rewind()?;
        Ok(Self { doubles, ..Self::start(path, file)? })
    }
}

impl<R: Read> Rows<R> {
    /// Reads the header.
    fn start(path: &str, file: R) -> io::Result<Self> {
        let mut lines = Lines { file: BufReader::new(file), number: 0 };
        let mut problems = Problems { path: path.to_owned(), found: Vec::new(), more: 0 };
        // Blank lines before the header are nobody's.
        let header = loop {
            match lines.next()? {
                Some((_, line)) if line.trim().is_empty() => {}
                Some(found) => break found,
                None => break (1, String::new()),
            }
        };
        let mut cells = Cells::new(separator(&header.1));
        let columns = columns(&header, &mut cells, &mut problems);
        Ok(Self { lines, cells, columns, problems, doubles: HashMap::new() })
    }

    /// The next line that is not blank. Without a column of addresses there is none.
    fn next_line(&mut self) -> io::Result<Option<(usize, String)>> {
        while self.columns.contains(&Some("email"))
            && let Some((number, line)) = self.lines.next()?
        {
            if !line.trim().is_empty() {
                return Ok(Some((number, line)));
            }
        }
        Ok(None)
    }

    /// The address in a line.
    fn address(&mut self, line: &str) -> Option<String> {
        let place = self.columns.iter().position(|column| *column == Some("email"))?;
        self.cells.of(line).into_iter().nth(place)
    }

    /// The recipient in a line, if it holds one.
    fn recipient(&mut self, number: usize, line: &str) -> Option<Recipient> {
        let cells = self.cells.of(line);
        let problems = &mut self.problems;
        if self.cells.is_open {
            let message =
                "a quote is open at the end of this line, which is an entry by itself".to_owned();
            let (severity, code) = (Severity::Warning, Code::InvalidRecipient);
            let help = "write each person on one line, and close the quote";
            problems.add((number, line, ""), severity, code, message, help);
        }
        let recipient = entry(&self.columns, &cells).check(|remark: Remark| {
            let cell = cells.get(remark.span.start).map_or("", String::as_str);
            let Remark { severity, code, message, .. } = remark;
            problems.add((number, line, cell), severity, code, message, remark.help);
        })?;
        let key = recipient.key();
        if let Some(first_lines) = self.doubles.get_mut(&short(&key)) {
            let first = *first_lines.entry(key).or_insert(number);
            if first != number {
                let message =
                    format!("the address stands in line {first} already; that line counts");
                let (severity, code) = (Severity::Warning, Code::DuplicateRecipient);
                let place = (number, line, recipient.email.as_str());
                problems.add(place, severity, code, message, "delete one of the two");
                return None;
            }
        }
        Some(recipient)
    }

    /// What there is to say about the lines that were read.
    pub fn problems(self) -> Vec<Diagnostic> {
        self.problems.shown()
    }
}

impl<R: Read> Iterator for Rows<R> {
    type Item = io::Result<Recipient>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.next_line() {
                Ok(Some((number, line))) => {
                    if let Some(recipient) = self.recipient(number, &line) {
                        return Some(Ok(recipient));
                    }
                }
                Ok(None) => return None,
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

/// Eight bytes that tell most keys apart.
fn short(key: &str) -> u64 {
    let hash = blake3::hash(key.as_bytes());
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&hash.as_bytes()[..8]);
    u64::from_le_bytes(bytes)
}

/// The lines of a file, decoded, with their numbers.
struct Lines<R> {
    file: R,
    number: usize,
}

impl<R: BufRead> Lines<R> {
    fn next(&mut self) -> io::Result<Option<(usize, String)>> {
        let Some(bytes) = self.bytes()? else { return Ok(None) };
        self.number += 1;
        let text = String::from_utf8(bytes).unwrap_or_else(|error| {
            let bytes = error.as_bytes();
            encoding_rs::WINDOWS_1252.decode_without_bom_handling(bytes).0.into_owned()
        });
        Ok(Some((self.number, text.trim_start_matches('\u{FEFF}').to_owned())))
    }

    /// The next line without its end, which is written in three ways. What is longer than a line of
    /// somebody's can be is cut.
    fn bytes(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut line = Vec::new();
        let mut is_there = false;
        loop {
            let piece = match self.file.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                piece => piece?,
            };
            if piece.is_empty() {
                return Ok(is_there.then_some(line));
            }
            is_there = true;
            let end = memchr::memchr2(b'\n', b'\r', piece);
            let text = piece.get(..end.unwrap_or(piece.len())).unwrap_or_default();
            line.extend(text.iter().take(MAX_LINE.saturating_sub(line.len())));
            let is_return = end.and_then(|end| piece.get(end)) == Some(&b'\r');
            let read = end.map_or(piece.len(), |end| end + 1);
            self.file.consume(read);
            if end.is_none() {
                continue;
            }
            if is_return && self.file.fill_buf()?.first() == Some(&b'\n') {
                self.file.consume(1);
            }
            return Ok(Some(line));
        }
    }
}

/// The problems so far.
struct Problems {
    path: String,
    found: Vec<Diagnostic>,
    more: usize,
}

impl Problems {
    /// Adds one: line, its text, and what of it is at fault; the whole line where that is empty.
    fn add(
        &mut self,
        (number, line, cell): (usize, &str, &str),
        severity: Severity,
        code: Code,
        message: String,
        help: impl Into<String>,
    ) {
        if self.found.len() == MAX_PROBLEMS {
            self.more += 1;
            return;
        }
        let start = line.find(cell).unwrap_or(0);
        let end = start + if cell.is_empty() { line.len() } else { cell.len() };
        self.found.push(
            Diagnostic::new(severity, code, self.path.as_str(), message)
                .at_line(number, line, &(start..end))
                .help(help),
        );
    }

    fn shown(mut self) -> Vec<Diagnostic> {
        if self.more > 0 {
            let message = format!("{} more problems are not shown", self.more);
            let (severity, code) = (Severity::Warning, Code::InvalidRecipient);
            self.found.push(Diagnostic::new(severity, code, self.path, message));
        }
        self.found
    }
}

/// What stands between cells, by the header.
fn separator(header: &str) -> char {
    let most =
        [',', ';', '\t'].into_iter().max_by_key(|separator| header.matches(*separator).count());
    most.filter(|separator| header.contains(*separator)).unwrap_or(',')
}

/// Takes lines apart into cells.
struct Cells {
    reader: Reader,
    text: Vec<u8>,
    ends: Vec<usize>,
    /// Whether the last line ended between quotes.
    is_open: bool,
}

impl Cells {
    fn new(separator: char) -> Self {
        let separator = u8::try_from(separator).unwrap_or(b',');
        // To make one takes longer than to read a hundred lines with it.
        let reader = ReaderBuilder::new().delimiter(separator).build();
        Self { reader, text: vec![0; 1024], ends: vec![0; 64], is_open: false }
    }

    /// The cells of a line.
    fn of(&mut self, line: &str) -> Vec<String> {
        self.reader.reset();
        let (mut written, mut found) = (0, 0);
        // The end of the line is a part of a cell where quotes are open. Nothing left to read means the end
        // in any case.
        let mut rest = [line.as_bytes(), b"\n", b""].into_iter();
        let mut input = rest.next().unwrap_or_default();
        loop {
            let text = &mut self.text[written..];
            let (result, r, w, f) = self.reader.read_record(input, text, &mut self.ends[found..]);
            (written, found) = (written + w, found + f);
            input = &input[r..];
            match result {
                ReadRecordResult::OutputFull => self.text.resize(self.text.len() * 2, 0),
                ReadRecordResult::OutputEndsFull => self.ends.resize(self.ends.len() * 2, 0),
                ReadRecordResult::InputEmpty => input = rest.next().unwrap_or_default(),
                ReadRecordResult::Record | ReadRecordResult::End => break,
            }
        }
        self.is_open = rest.len() == 0;
        let mut start = 0;
        let cell = |end: &usize| {
            let cell = String::from_utf8_lossy(&self.text[start..*end]).trim().to_owned();
            start = *end;
            cell
        };
        self.ends[..found].iter().map(cell).collect()
    }
}

/// The key of each column.
fn columns(
    (number, line): &(usize, String),
    cells: &mut Cells,
    problems: &mut Problems,
) -> Vec<Option<&'static str>> {
    if line.contains('\0') {
        let message = "the mailing list is in UTF-16, which is not read".to_owned();
        let help = "save it as CSV in UTF-8";
        problems.add((*number, "", ""), Severity::Error, Code::Encoding, message, help);
        return Vec::new();
    }
    let mut seen: Vec<&'static str> = Vec::new();
    let columns: Vec<_> = cells
        .of(line)
        .iter()
        .map(|name| {
            let known = KEYS.iter().copied().find(|key| *key == text::folded(name));
            if let Some(key) = known {
                if seen.contains(&key) {
                    let message = format!("the column `{key}` stands here twice; the first counts");
                    let (severity, code) = (Severity::Error, Code::InvalidRecipient);
                    let help = "delete one of the two, or give it another name";
                    problems.add((*number, line, name), severity, code, message, help);
                    return None;
                }
                seen.push(key);
            }
            if known.is_none() && !name.is_empty() {
                let message = format!("the column `{name}` is not known here");
                let (severity, code) = (Severity::Warning, Code::UnknownKey);
                problems.add((*number, line, name), severity, code, message, suggestion(name));
            }
            known
        })
        .collect();
    if !columns.contains(&Some("email")) {
        let message = "the mailing list has no column `email`".to_owned();
        let help = "write the names of the columns into the first line: `email,name`";
        let (severity, code) = (Severity::Error, Code::InvalidRecipient);
        problems.add((*number, line, ""), severity, code, message, help);
    }
    columns
}

/// An entry whose spans are the numbers of cells.
fn entry(columns: &[Option<&'static str>], cells: &[String]) -> Entry {
    let place = |number: usize| Range { start: number, end: number + 1 };
    let first = columns.iter().position(|column| *column == Some("email")).unwrap_or(0);
    let mut entry = Entry { span: place(first), ..Entry::default() };
    for (number, (column, cell)) in columns.iter().zip(cells).enumerate() {
        let Some(key) = column.filter(|_| !cell.is_empty()) else { continue };
        entry.values.insert(key, (split(key, cell), place(number)));
    }
    entry
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(content: &[u8]) -> (Vec<Recipient>, Vec<String>) {
        let (recipients, problems) = read("r.csv", io::Cursor::new(content)).unwrap();
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
                "invalid-recipient:3:1 this is not a mail address",
                "invalid-recipient:4:1 this entry has no `email`",
                "duplicate-recipient:6:1 the address stands in line 2 already; that line counts",
            ]
        );
    }

    #[test]
    fn of_two_columns_of_one_name_the_first_counts() {
        let (good, problems) = list(b"email,name,Email\na@example.org,A,b@example.org\n");
        assert_eq!(good.len(), 1);
        assert_eq!(good[0].email, "a@example.org");
        assert_eq!(
            problems,
            ["invalid-recipient:1:12 the column `email` stands here twice; the first counts"]
        );
    }

    #[test]
    fn lines_end_in_three_ways() {
        for end in ["\n", "\r\n", "\r"] {
            let content = ["email,name", "", "a@example.org,A", "b", "c@example.org,C"].join(end);
            for content in [content.clone(), content + end] {
                let (good, problems) = list(content.as_bytes());
                assert_eq!(good.len(), 2, "{end:?}");
                assert_eq!(problems.len(), 1);
                assert!(problems[0].starts_with("invalid-recipient:4:1 "), "{problems:?}");
            }
        }
        // However long a line is, the next one is another's.
        let long = format!("email,name\na@example.org,{}\nb@example.org,B\n", "x".repeat(1 << 18));
        assert_eq!(emails(&long), ["a@example.org", "b@example.org"]);
    }

    #[test]
    fn a_quote_that_is_not_closed_swallows_nobody() {
        let content = "email,name\na@example.org,\"Jo\nb@example.org,\"\"Al\"\nc@example.org,\"\n";
        assert_eq!(emails(content), ["a@example.org", "b@example.org", "c@example.org"]);
        let names: Vec<_> = list(content.as_bytes()).0.into_iter().map(|r| r.name).collect();
        assert!(names.iter().flatten().all(|name| !name.contains('@')), "{names:?}");
        // It is said: what stands behind it is not with its person.
        let broken = "email,name,cadence\na@example.org,\"Jo\nMartin\",weekly\nb@example.org,\"A \"\"B\"\"\",daily\nc@example.org,12\" screen\n";
        let (_, problems) = list(broken.as_bytes());
        let said = problems.iter().filter(|problem| problem.contains("quote"));
        assert_eq!(said.count(), 1, "{problems:?}");
    }

    #[test]
    fn spreadsheets_write_in_many_ways() {
        let expected = ["a@example.org", "b@example.org"];
        for content in [
            "email\na@example.org\nb@example.org\n",
            "\u{FEFF}Email;Name\r\na@example.org;A\r\n\r\nb@example.org;B\r\n",
            "\nname\temail\nA\ta@example.org\nB\tb@example.org",
            "name,email\n\"A, B\",a@example.org\n,b@example.org\n",
        ] {
            assert_eq!(emails(content), expected, "{content}");
        }
        let (latin, _) = list(b"email;name\na@example.org;Zo\xEB\n");
        assert_eq!(latin[0].name.as_deref(), Some("Zoë"));
        let long = format!("email,name\na@example.org,{}\nb@example.org\n", "x".repeat(100_000));
        assert_eq!(emails(&long), expected);
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
        let wide: Vec<u8> =
            "\u{FEFF}email\na@example.org\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let (good, problems) = list(&wide);
        assert!(good.is_empty());
        assert_eq!(problems, ["encoding:1:1 the mailing list is in UTF-16, which is not read"]);
        let many = format!("email\n{}", "x\n".repeat(1000));
        assert_eq!(list(many.as_bytes()).1.len(), MAX_PROBLEMS + 1);
    }
}
