//! Figures with as many digits as they deserve.

/// Three significant digits or so, thousands apart.
pub(crate) fn figure(value: f64) -> String {
    let size = value.abs();
    if size >= 1_000.0 {
        thousands(value.round() as i64)
    } else if size >= 100.0 {
        format!("{value:.0}")
    } else if size >= 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}

/// With its sign.
pub(crate) fn difference(value: f64) -> String {
    let sign = if value < 0.0 { "−" } else { "+" };
    format!("{sign}{}", figure(value.abs()))
}

/// `×0.98`, `×79`
pub(crate) fn ratio(value: f64) -> String {
    if value >= 10.0 {
        format!("×{}", thousands(value.round() as i64))
    } else {
        format!("×{value:.2}")
    }
}

fn thousands(value: i64) -> String {
    let digits = value.abs().to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    if value < 0 {
        format!("−{text}")
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::{difference, figure, ratio};

    #[test]
    fn figures_are_short() {
        for (value, text) in [
            (0.0, "0.00"),
            (8.456, "8.46"),
            (80.04, "80.0"),
            (455.4, "455"),
            (37_352.4, "37,352"),
            (1_000_000.0, "1,000,000"),
        ] {
            assert_eq!(figure(value), text);
        }
        assert_eq!(difference(-3.2), "−3.20");
        assert_eq!(difference(12.0), "+12.0");
        assert_eq!(ratio(0.984), "×0.98");
        assert_eq!(ratio(79.3), "×79");
    }
}
