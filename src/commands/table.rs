//! Rows for people, for spreadsheets, and for programs.

use serde::Serialize;

use super::{Result, temporary};

/// A table with spaces between its columns, and none at the end of its lines: people compare such
/// lists.
pub(super) fn table<const N: usize>(
    header: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let mut table = comfy_table::Table::new();
    table
        .load_style(comfy_table::presets::NOTHING)
        .set_content_arrangement(comfy_table::ContentArrangement::Dynamic)
        .set_header(header);
    for row in rows {
        table.add_row(row);
    }
    table.lines().map(|line| format!("{}\n", line.trim_end().trim_start_matches(' '))).collect()
}

/// The same as CSV (RFC 4180).
pub(super) fn csv<S: AsRef<[u8]>>(
    rows: impl IntoIterator<Item = impl IntoIterator<Item = S>>,
) -> Result<String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    for row in rows {
        writer.write_record(row).map_err(temporary)?;
    }
    let bytes = writer.into_inner().map_err(|error| temporary(error.into_error()))?;
    String::from_utf8(bytes).map_err(temporary)
}

/// A list of objects, one a line, so that two lists can be compared line by line.
pub(super) fn json<T: Serialize>(items: &[T]) -> Result<String> {
    let lines: Vec<String> = items
        .iter()
        .map(serde_json::to_string)
        .collect::<std::result::Result<_, _>>()
        .map_err(temporary)?;
    Ok(if lines.is_empty() { "[]\n".to_owned() } else { format!("[\n{}\n]\n", lines.join(",\n")) })
}
