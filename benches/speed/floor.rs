//! What no program that does the same work can undercut: read every file, render its Markdown with
//! the same library, write as many bytes into as many files, on all processors.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use comrak::Options;
use rayon::prelude::*;
use walkdir::WalkDir;

/// The files below a folder.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let all = WalkDir::new(folder).sort_by_file_name().into_iter().flatten();
    all.filter(|entry| entry.file_type().is_file()).map(walkdir::DirEntry::into_path).collect()
}

/// Reads every posting, and nothing else.
pub fn read(site: &Path) -> io::Result<usize> {
    let sizes = files(&site.join("content/postings"))
        .into_par_iter()
        .map(|path| fs::read(path).map(|bytes| bytes.len()));
    sizes.sum()
}

/// Reads, renders, and writes files of the sizes of those in `like` to `out`.
pub fn build(site: &Path, like: &Path, out: &Path) -> io::Result<()> {
    let mut options = Options::default();
    options.extension.table = true;
    options.extension.tasklist = true;
    options.extension.autolink = true;
    options.extension.strikethrough = true;
    options.extension.shortcodes = true;
    options.render.r#unsafe = true;
    let render = |path: &PathBuf| -> io::Result<String> {
        let text = fs::read_to_string(path)?;
        let body = text.splitn(3, "---\n").nth(2).unwrap_or_default();
        Ok(comrak::markdown_to_html(body, &options))
    };
    let fill = |path: &Path, size: u64, html: &str| -> io::Result<()> {
        let mut file = fs::File::create(path)?;
        let mut left = usize::try_from(size).unwrap_or(usize::MAX);
        let filler = if html.is_empty() { "-" } else { html }.as_bytes();
        // Large files in large pieces.
        let filler = filler.repeat((left.min(1 << 18) / filler.len()).max(1));
        while left > 0 {
            let part = left.min(filler.len());
            file.write_all(&filler[..part])?;
            left -= part;
        }
        Ok(())
    };
    let wanted: Vec<(PathBuf, u64)> = files(like)
        .into_iter()
        .map(|path| {
            let length = fs::metadata(&path)?.len();
            let below = path.strip_prefix(like).map(Path::to_owned).unwrap_or_default();
            Ok((out.join(below), length))
        })
        .collect::<io::Result<_>>()?;
    for (path, _) in &wanted {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
    }
    let sources = files(&site.join("content/postings"));
    // Each posting writes its share of the files, right after it was rendered.
    let share = wanted.len().div_ceil(sources.len().max(1)).max(1);
    let (shared, rest) = wanted.split_at((share * sources.len()).min(wanted.len()));
    sources.par_iter().enumerate().try_for_each(|(at, source)| {
        let html = render(source)?;
        let from = (at * share).min(shared.len());
        let to = (from + share).min(shared.len());
        shared[from..to].iter().try_for_each(|(path, size)| fill(path, *size, &html))
    })?;
    rest.par_iter().try_for_each(|(path, size)| fill(path, *size, "-"))
}
