//! Just enough of Rust's lexical grammar to tell code from comments and from literals.
//!
//! Rules work on *masked* code: the same text with every comment and every literal's inside
//! replaced by blanks, so that line and column stay, and a word in a string is not a word of code.

/// A Rust source, split by kind. Both texts have exactly the lines of the original.
pub(crate) struct Masked {
    /// Code; comments and the inside of literals are blanks.
    pub(crate) code: String,
    /// Comments; everything else is blanks.
    pub(crate) comments: String,
}

impl Masked {
    /// Splits `source`.
    pub(crate) fn new(source: &str) -> Self {
        let mut lexer = Lexer {
            rest: source,
            code: String::new(),
            comments: String::new(),
        };
        while lexer.step() {}
        Self {
            code: lexer.code,
            comments: lexer.comments,
        }
    }

    /// Line numbers (from 0) on which code stands.
    pub(crate) fn code_lines(&self) -> impl Iterator<Item = usize> {
        let lines = self.code.lines().enumerate();
        lines
            .filter(|(_, line)| !line.trim().is_empty())
            .map(|(number, _)| number)
    }
}

struct Lexer<'a> {
    rest: &'a str,
    code: String,
    comments: String,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Code,
    Comment,
    Literal,
}

impl Lexer<'_> {
    /// Takes one piece; false at the end.
    fn step(&mut self) -> bool {
        let Some(first) = self.rest.chars().next() else {
            return false;
        };
        if self.rest.starts_with("//") {
            let length = self.rest.find('\n').unwrap_or(self.rest.len());
            self.take(length, Kind::Comment);
        } else if self.rest.starts_with("/*") {
            self.take(block_comment_length(self.rest), Kind::Comment);
        } else if let Some(length) = raw_string_length(self.rest) {
            self.literal(length);
        } else if first == '"' {
            self.literal(quoted_length(self.rest, '"'));
        } else if first == '\'' {
            match char_literal_length(self.rest) {
                Some(length) => self.literal(length),
                None => self.take(1, Kind::Code),
            }
        } else if first.is_alphanumeric() || first == '_' {
            // Whole words, so that the `r` of a name does not look like the start of a raw string.
            let end = |c: char| !(c.is_alphanumeric() || c == '_');
            self.take(self.rest.find(end).unwrap_or(self.rest.len()), Kind::Code);
        } else {
            self.take(first.len_utf8(), Kind::Code);
        }
        true
    }

    /// Keeps the quotes as code, so that `x = ""` still looks like a line of code.
    fn literal(&mut self, length: usize) {
        if length < 2 {
            return self.take(length, Kind::Code);
        }
        self.take(1, Kind::Code);
        self.take(length - 2, Kind::Literal);
        self.take(1, Kind::Code);
    }

    fn take(&mut self, length: usize, kind: Kind) {
        let (piece, rest) = self.rest.split_at(length);
        self.rest = rest;
        for c in piece.chars() {
            let blank = if c == '\n' { '\n' } else { ' ' };
            self.code.push(if kind == Kind::Code { c } else { blank });
            self.comments
                .push(if kind == Kind::Comment { c } else { blank });
        }
    }
}

fn block_comment_length(text: &str) -> usize {
    let mut depth = 0usize;
    let mut at = 0;
    while at < text.len() {
        if text[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if text[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// `r"…"`, `r#"…"#`, with `b` or `c` before; `None` where no raw string starts.
fn raw_string_length(text: &str) -> Option<usize> {
    let prefix = ["br", "cr", "r"]
        .into_iter()
        .find(|prefix| text.starts_with(prefix))?;
    let after = &text[prefix.len()..];
    let hashes = after.len() - after.trim_start_matches('#').len();
    let body = after[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let length = body.find(&end).map_or(body.len(), |at| at + end.len());
    Some(prefix.len() + hashes + 1 + length)
}

/// From a quote to the same quote, escapes taken into account.
fn quoted_length(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return at + c.len_utf8(),
            _ => {}
        }
    }
    text.len()
}

/// `'a'` and `'\n'` are literals; `'a` alone is a lifetime.
fn char_literal_length(text: &str) -> Option<usize> {
    let mut chars = text.char_indices().skip(1);
    let (_, first) = chars.next()?;
    if first == '\\' {
        return Some(quoted_length(text, '\''));
    }
    let (at, second) = chars.next()?;
    (second == '\'').then_some(at + 1)
}

#[cfg(test)]
mod tests {
    use super::Masked;

    fn code(source: &str) -> String {
        Masked::new(source).code
    }

    #[test]
    fn comments_and_literals_are_blanked_and_lines_kept() {
        let source = "let a = \"x // y\"; // z\n/* b\n /* c */ */ let d = 1;\n";
        let masked = Masked::new(source);
        assert_eq!(masked.code.lines().count(), source.lines().count());
        assert_eq!(
            masked.code.lines().next().unwrap().trim_end(),
            "let a = \"      \";"
        );
        assert_eq!(masked.code.lines().nth(2).unwrap().trim(), "let d = 1;");
        assert!(masked.comments.contains("// z"));
        assert!(!masked.comments.contains("let"));
    }

    #[test]
    fn raw_strings_end_where_they_end() {
        assert!(!code("let a = r#\"fn \" todo\"#; fn b() {}").contains("todo"));
        assert!(code("let a = r#\"fn \" todo\"#; fn b() {}").contains("fn b() {}"));
        assert!(code("let bar = 1; let str = \"x\"; f()").contains("f()"));
    }

    #[test]
    fn lifetimes_are_code_and_characters_are_not() {
        assert!(code("fn f<'a>(x: &'a str) {}").contains("&'a str"));
        assert!(!code("let q = '{';").contains('{'));
        assert!(!code(r"let q = '\''; let p = '{';").contains('{'));
        assert!(!code(r#"let q = "\"{";"#).contains('{'));
    }

    #[test]
    fn byte_strings_are_literals() {
        assert!(!code(r#"let q = b"unsafe"; let p = b'{';"#).contains("unsafe"));
        assert!(!code(r#"let q = b"unsafe"; let p = b'{';"#).contains('{'));
    }
}
