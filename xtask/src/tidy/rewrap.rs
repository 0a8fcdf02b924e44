//! Mends the one finding that is no work for a person: comment lines that are too long.
//!
//! What does not fit moves to the next line of the same paragraph, as an editor would do it.
//! Tables, fenced code and lines of code are left as they are.

use super::rust::COLUMNS_MAX;

/// The text with its long comment lines broken.
pub(super) fn rewrap(text: &str) -> String {
    let mut rest: Vec<String> = text.lines().rev().map(str::to_owned).collect();
    let mut done = String::with_capacity(text.len());
    let mut fenced = false;
    while let Some(line) = rest.pop() {
        let comment = Comment::read(&line);
        fenced ^= comment.is_some_and(|comment| comment.body.starts_with("```"));
        match comment
            .filter(|_| !fenced)
            .and_then(|comment| comment.broken())
        {
            None => {
                done.push_str(&line);
                done.push('\n');
            }
            Some((kept, moved)) => {
                done.push_str(&kept);
                done.push('\n');
                let next = rest.pop();
                rest.extend(carried(&line, &moved, next));
            }
        }
    }
    done
}

/// The lines that follow, last one first: `moved` goes before the next line if that one goes on
/// with the same paragraph, else it is a line of its own.
fn carried(line: &str, moved: &str, next: Option<String>) -> Vec<String> {
    let Some(this) = Comment::read(line) else {
        return next.into_iter().collect();
    };
    let joins = next.as_deref().and_then(Comment::read).filter(|next| {
        next.prefix == this.prefix && next.is_prose() && !next.body.starts_with("```")
    });
    match joins {
        Some(next) => {
            let indent = &next.body[..next.body.len() - next.body.trim_start().len()];
            let body = next.body.trim_start();
            vec![format!("{}{indent}{moved} {body}", next.prefix)]
        }
        None => {
            let hanging = if this.is_item() { "  " } else { "" };
            let own = format!("{}{hanging}{moved}", this.prefix);
            next.into_iter().chain([own]).collect()
        }
    }
}

/// A line that is a comment and nothing else.
#[derive(Clone, Copy)]
struct Comment<'a> {
    /// Indentation, slashes and one blank.
    prefix: &'a str,
    body: &'a str,
}

impl<'a> Comment<'a> {
    fn read(line: &'a str) -> Option<Self> {
        let start = line.len() - line.trim_start().len();
        let markers = ["//! ", "/// ", "// "];
        let marker = markers
            .iter()
            .find(|marker| line[start..].starts_with(**marker))?;
        let (prefix, body) = line.split_at(start + marker.len());
        Some(Self { prefix, body })
    }

    fn is_item(&self) -> bool {
        let body = self.body.trim_start();
        let numbered = body.trim_start_matches(|c: char| c.is_ascii_digit());
        body.starts_with("- ")
            || body.starts_with("* ")
            || (numbered.len() < body.len() && numbered.starts_with(". "))
    }

    fn is_prose(&self) -> bool {
        let body = self.body.trim_start();
        !body.is_empty() && !self.is_item() && !body.starts_with(['|', '#', '>', '`'])
    }

    /// What stays and what moves on; none if it fits or cannot be broken.
    fn broken(&self) -> Option<(String, String)> {
        let columns = self.prefix.chars().count();
        let fits = COLUMNS_MAX - columns;
        if self.body.chars().count() <= fits || self.body.trim_start().starts_with('|') {
            return None;
        }
        let blanks: Vec<usize> = self.body.match_indices(' ').map(|(at, _)| at).collect();
        let at = blanks.into_iter().rev().find(|at| {
            let (kept, moved) = (&self.body[..*at], &self.body[at + 1..]);
            // A line must not begin with what would make a list, a heading or a table of it.
            let safe = !moved.starts_with(['-', '*', '+', '#', '|', '>', '`', ' '])
                && !moved.starts_with(|c: char| c.is_ascii_digit());
            kept.chars().count() <= fits && !kept.trim().is_empty() && safe
        })?;
        let kept = format!("{}{}", self.prefix, self.body[..at].trim_end());
        Some((kept, self.body[at + 1..].trim_start().to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::rewrap;

    fn words(count: usize) -> String {
        vec!["word"; count].join(" ")
    }

    #[test]
    fn long_comments_flow_into_the_next_line() {
        let text = format!("    /// {}\n    /// and more.\nfn f() {{}}\n", words(22));
        let mended = rewrap(&text);
        assert!(mended.lines().all(|line| line.len() <= 100));
        assert!(
            mended.contains("/// word word word word and more.\nfn f"),
            "{mended}"
        );
        assert_eq!(
            mended.replace("\n    ///", "").len(),
            text.replace("\n    ///", "").len()
        );
    }

    #[test]
    fn a_paragraphs_end_makes_a_line_of_its_own() {
        let mended = rewrap(&format!("//! {}\n//!\n//! Next.\n", words(22)));
        assert!(
            mended.ends_with("\n//! word word word\n//!\n//! Next.\n"),
            "{mended}"
        );
        let mended = rewrap(&format!("//! - {}\n//! - next\n", words(22)));
        assert!(mended.contains("\n//!   word"), "{mended}");
    }

    #[test]
    fn tables_code_and_fences_stay() {
        for text in [
            format!("//! | {} |\n", words(25)),
            format!("//! ```text\n//! {}\n//! ```\n", words(25)),
            format!("let a = \"{}\"; // why\n", words(25)),
            format!("// {}\n", "x".repeat(120)),
        ] {
            assert_eq!(rewrap(&text), text);
        }
    }
}
