//! Sizes and durations as people write them: `150M`, `1.5G`, `500ms`, `4s`, `1h`.

/// Reads a number as JavaScript's `Number(text)` followed by `parseFloat` would, decimal notation only. Text that is empty, infinite or not
/// wholly a number is none.
#[must_use]
pub fn number(text: &str) -> Option<f64> {
    let text = text.trim();
    let digits = text.bytes().any(|byte| byte.is_ascii_digit());
    let plain = text
        .bytes()
        .all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
    if !digits || !plain {
        return None;
    }
    text.parse().ok().filter(|value: &f64| value.is_finite())
}

/// Bytes of `"150M"`: a number with `K`, `M` or `G`, powers of 1024; fractions of a byte are cut off.
#[must_use]
pub fn bytes(text: &str) -> Option<f64> {
    let scale = match text.as_bytes().last()? {
        b'K' => 1024.0,
        b'M' => 1024.0 * 1024.0,
        b'G' => 1024.0 * 1024.0 * 1024.0,
        _ => return decimal(text),
    };
    Some((decimal(&text[..text.len() - 1])? * scale).floor())
}

/// Milliseconds of `"4s"`: a number with `ms`, `s`, `m` or `h`; no suffix means milliseconds.
#[must_use]
pub fn millis(text: &str) -> Option<f64> {
    let (digits, scale) = if let Some(digits) = text.strip_suffix("ms") {
        (digits, 1.0)
    } else if let Some(digits) = text.strip_suffix('s') {
        (digits, 1000.0)
    } else if let Some(digits) = text.strip_suffix('m') {
        (digits, 60.0 * 1000.0)
    } else if let Some(digits) = text.strip_suffix('h') {
        (digits, 60.0 * 60.0 * 1000.0)
    } else {
        (text, 1.0)
    };
    Some((decimal(digits)? * scale).round())
}

/// Digits with at most one point; a sign or an exponent before a unit is a slip of the pen.
fn decimal(text: &str) -> Option<f64> {
    let plain = text
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'.');
    let bounded = text.bytes().next()?.is_ascii_digit() && !text.ends_with('.');
    if plain && bounded {
        text.parse().ok().filter(|value: &f64| value.is_finite())
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_powers_of_1024() {
        assert_eq!(bytes("150M"), Some(157_286_400.0));
        assert_eq!(bytes("1.5G"), Some(1_610_612_736.0));
        assert_eq!(bytes("10"), Some(10.0));
        assert_eq!(bytes("0.3K"), Some(307.0));
        for bad in [
            "",
            "M",
            "10m",
            "1.G",
            ".5G",
            "-1M",
            "1e3M",
            "10MB",
            "1 G",
            "NaN",
            "InfinityG",
            "1.2.3M",
            "١M",
        ] {
            assert_eq!(bytes(bad), None, "{bad}");
        }
    }

    #[test]
    fn durations_are_milliseconds() {
        assert_eq!(millis("500ms"), Some(500.0));
        assert_eq!(millis("4s"), Some(4000.0));
        assert_eq!(millis("2m"), Some(120_000.0));
        assert_eq!(millis("1.5h"), Some(5_400_000.0));
        assert_eq!(millis("100"), Some(100.0));
        for bad in [
            "", "s", "-1s", "1d", "1 s", "1S", "ms", "1sm", "1hs", "NaN", "é",
        ] {
            assert_eq!(millis(bad), None, "{bad}");
        }
    }

    #[test]
    fn numeric_text_is_decimal_and_finite() {
        assert_eq!(number(" 12 "), Some(12.0));
        assert_eq!(number("-1.5"), Some(-1.5));
        assert_eq!(number("1e3"), Some(1000.0));
        for bad in [
            "", " ", "NaN", "Infinity", "0x10", "1e999", "3s", "inf", "e", ".",
        ] {
            assert_eq!(number(bad), None, "{bad}");
        }
    }
}
