//! Items found in masked code: functions with their extent, and what only tests see.

/// A named function and the lines it spans, from 0, both included.
#[derive(Debug, PartialEq)]
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) first: usize,
    pub(crate) last: usize,
}

impl Function {
    /// Lines from the signature to the closing brace.
    pub(crate) fn length(&self) -> usize {
        self.last - self.first + 1
    }
}

/// All functions with a body, nested ones as well.
pub(crate) fn functions(code: &str) -> Vec<Function> {
    let mut found = Vec::new();
    for (at, word) in words(code) {
        if word != "fn" {
            continue;
        }
        // `fn(u8) -> u8` is a type: no name follows.
        let after = code[at + 2..].trim_start();
        let name: String = after.chars().take_while(|c| is_word(*c)).collect();
        if name.is_empty() {
            continue;
        }
        if let Some(end) = item_end(code, at).filter(|end| code[*end..].starts_with('}')) {
            found.push(Function {
                name,
                first: line(code, at),
                last: line(code, end),
            });
        }
    }
    found
}

/// What a `#[cfg(…)]` is about, as far as rules care.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Gate {
    /// Compiled for tests only.
    Test,
    /// Compiled only where a feature is on.
    Feature,
}

/// Ranges of lines (from 0, both included) behind such a gate.
pub(crate) fn gated_regions(code: &str, gate: Gate) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("#[cfg(") {
        let Some(end) = closing(code, at + 1) else {
            continue;
        };
        if gate_of(&code[at..end]) != Some(gate) {
            continue;
        }
        if let Some(last) = item_end(code, end + 1) {
            found.push((line(code, at), line(code, last)));
        }
    }
    found
}

/// `any(test, feature = …)` counts as a feature: somebody may ship it. `not(…)` gates nothing.
fn gate_of(condition: &str) -> Option<Gate> {
    let has = |wanted: &str| words(condition).any(|(_, word)| word == wanted);
    match (has("not"), has("feature"), has("test")) {
        (true, _, _) => None,
        (_, true, _) => Some(Gate::Feature),
        (_, _, true) => Some(Gate::Test),
        _ => None,
    }
}

/// Names of modules that are declared behind such a gate and live in a file of their own.
pub(crate) fn gated_modules(code: &str, gate: Gate) -> Vec<String> {
    let lines: Vec<&str> = code.lines().collect();
    let mut found = Vec::new();
    for (first, last) in gated_regions(code, gate) {
        let region = lines[first..=last].join(" ");
        let mut words = words(&region)
            .map(|(_, word)| word)
            .skip_while(|word| *word != "mod");
        if let (Some(_), Some(name), true) =
            (words.next(), words.next(), region.trim_end().ends_with(';'))
        {
            found.push(name.to_owned());
        }
    }
    found
}

/// Words of code with their place in bytes.
pub(crate) fn words(code: &str) -> impl Iterator<Item = (usize, &str)> {
    code.split(|c| !is_word(c))
        .filter(|word| !word.is_empty())
        .map(|word| {
            // Both point into `code`, so the difference is the place.
            (word.as_ptr() as usize - code.as_ptr() as usize, word)
        })
}

/// Line number, from 0, of a place in bytes.
pub(crate) fn line(code: &str, at: usize) -> usize {
    code[..at].matches('\n').count()
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Where the item that starts at `from` ends: its closing brace, or its semicolon.
fn item_end(code: &str, from: usize) -> Option<usize> {
    let mut at = from;
    while let Some(offset) = code[at..].find(['{', ';', '(', '[']) {
        let here = at + offset;
        match code.as_bytes()[here] {
            b';' => return Some(here),
            b'{' => return closing(code, here),
            // A `;` inside `[u8; 32]` or a parameter list ends nothing.
            _ => at = closing(code, here)? + 1,
        }
    }
    None
}

/// The bracket that closes the one at `open`.
fn closing(code: &str, open: usize) -> Option<usize> {
    let mut depth = 0usize;
    for (at, byte) in code.bytes().enumerate().skip(open) {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{Gate, functions, gated_modules, gated_regions};

    #[test]
    fn functions_span_from_signature_to_closing_brace() {
        let found = functions("fn a(x: [u8; 2]) {\n  { }\n}\nstruct S(fn(u8) -> u8);\nfn b();\n");
        assert_eq!(found.len(), 1);
        assert_eq!(
            (found[0].first, found[0].last, found[0].length()),
            (0, 2, 3)
        );
    }

    #[test]
    fn gated_regions_cover_the_item_behind_the_attribute() {
        let code = "fn a() {}\n#[cfg(test)]\n#[allow(x)]\nmod tests {\n  fn b() {}\n}\nfn c() {}\n";
        assert_eq!(gated_regions(code, Gate::Test), [(1, 5)]);
        assert!(gated_regions(code, Gate::Feature).is_empty());
        let negated = "#[cfg(not(test))]\nmod a {}\n";
        assert!(gated_regions(negated, Gate::Test).is_empty());
    }

    #[test]
    fn what_a_feature_may_turn_on_is_not_for_tests_only() {
        let code = "#[cfg(any(test, feature = \"\"))]\nmod a {}\n";
        assert!(gated_regions(code, Gate::Test).is_empty());
        assert_eq!(gated_regions(code, Gate::Feature), [(0, 1)]);
    }

    #[test]
    fn gated_modules_in_their_own_file_are_named() {
        let modules = |code| gated_modules(code, Gate::Test);
        assert_eq!(modules("#[cfg(test)]\nmod tests;\n"), ["tests"]);
        assert!(modules("#[cfg(test)]\nmod tests { fn a() {} }\n").is_empty());
    }
}
