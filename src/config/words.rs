//! Splitting a text into words the way pm2 does for `args` and its like.

/// Splits at white space. `"…"` and `'…'` keep together and lose their quotes; a word of the form `key="a b"` stays one word and keeps
/// them. Empty words vanish, and a quote that nobody closes is an ordinary character. Time grows linearly with the text.
#[must_use]
pub fn split(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut scan = Scan {
        rest: text,
        no_double: false,
        no_single: false,
    };
    while let Some(word) = scan.next_word() {
        let bare = unquoted(word);
        if !bare.trim().is_empty() {
            words.push(bare.to_owned());
        }
    }
    words
}

/// A position in the text. The two flags remember that no such quote lies ahead, so that a text of many unclosed quotes is not searched to its
/// end for each of them.
struct Scan<'a> {
    rest: &'a str,
    no_double: bool,
    no_single: bool,
}

impl<'a> Scan<'a> {
    fn next_word(&mut self) -> Option<&'a str> {
        self.rest = self.rest.trim_start();
        let first = self.rest.chars().next()?;
        let end = match first {
            '"' | '\'' => self.quoted(0),
            '=' => None,
            _ => self.assignment(),
        };
        let end = end.unwrap_or_else(|| {
            self.rest
                .find(char::is_whitespace)
                .unwrap_or(self.rest.len())
        });
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        Some(word)
    }

    /// The end of `key="…"` at the start of the rest.
    fn assignment(&mut self) -> Option<usize> {
        let key = self
            .rest
            .find(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '='))?;
        let value = self.rest[key..].strip_prefix('=')?;
        value.starts_with(['"', '\'']).then_some(())?;
        self.quoted(key + 1)
    }

    /// The end of the quoted text whose opening quote stands at `start`.
    fn quoted(&mut self, start: usize) -> Option<usize> {
        let quote = self.rest[start..].chars().next()?;
        let none_ahead = if quote == '"' {
            &mut self.no_double
        } else {
            &mut self.no_single
        };
        if *none_ahead {
            return None;
        }
        let Some(length) = self.rest[start + 1..].find(quote) else {
            *none_ahead = true;
            return None;
        };
        Some(start + 1 + length + 1)
    }
}

fn unquoted(word: &str) -> &str {
    for quote in ['"', '\''] {
        if let Some(inner) = word
            .strip_prefix(quote)
            .and_then(|rest| rest.strip_suffix(quote))
        {
            return inner;
        }
    }
    word
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_keep_words_together() {
        assert_eq!(
            split("a \"b c\" d=\"e f\" 'g h'"),
            ["a", "b c", "d=\"e f\"", "g h"]
        );
        assert_eq!(split("--x=\"a b\" \"\" '' q"), ["--x=\"a b\"", "q"]);
        assert_eq!(split("a 'b"), ["a", "'b"]);
        assert_eq!(split("  "), Vec::<String>::new());
        assert_eq!(split("\"a\"b"), ["a", "b"]);
        assert_eq!(split("=\"a b\""), ["=\"a", "b\""]);
        assert_eq!(split("é=' ü '\u{a0}x"), ["é=' ü '", "x"]);
    }

    #[test]
    fn a_huge_text_takes_linear_time() {
        // Quadratic behaviour would take minutes here; the reference has been slow on such input before.
        for piece in ["\"a ", "a=\"b ", "'", "a=", "x'y ", "\" ' "] {
            let text = piece.repeat(300_000);
            assert!(split(&text).len() < 1_000_000);
        }
    }
}
