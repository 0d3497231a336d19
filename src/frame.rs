//! Files that are made of parts: what stands around them. Formats say it, and whoever writes puts the
//! parts in.

/// What stands around the parts of a file, and between them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// From the beginning of the file.
    pub head: String,
    /// Before the first part, if there is one.
    pub open: &'static str,
    /// Before every other part.
    pub separator: &'static str,
    /// After the last part, if there is one.
    pub close: &'static str,
    /// To the end of the file.
    pub tail: String,
}

impl Frame {
    /// The file with one part.
    pub fn around(&self, part: &str) -> String {
        [&self.head, self.open, part, self.close, &self.tail].concat()
    }

    /// What stands around the one part of a text, which begins and ends as told.
    pub(crate) fn cut(
        text: &str,
        separator: &'static str,
        (begin, end): (&str, &str),
    ) -> Result<Self, String> {
        let cut = text.split_once(begin).zip(text.rsplit_once(end));
        let ((head, _), (_, tail)) = cut.ok_or_else(|| format!("there is no `{begin}`"))?;
        Ok(Self {
            head: head.trim_end().to_owned(),
            open: separator,
            separator,
            close: "",
            tail: tail.to_owned(),
        })
    }
}
