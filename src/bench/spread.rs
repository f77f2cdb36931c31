use serde::Serialize;

/// How a quantity that was measured several times is spread.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
    /// In the order in which they were measured.
    pub all: Vec<f64>,
}

impl Spread {
    /// Nothing where nothing was measured.
    pub fn of(all: impl IntoIterator<Item = f64>) -> Option<Self> {
        let all: Vec<f64> = all.into_iter().collect();
        let mut sorted = all.clone();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let half = sorted.len() / 2;
        let median =
            if sorted.len() % 2 == 1 { sorted[half] } else { f64::midpoint(sorted[half - 1], sorted[half]) };
        Some(Self { median, min, max, all })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        let spread = Spread::of([9.0, 1.0, 2.0]).unwrap();
        assert_eq!(spread, Spread { median: 2.0, min: 1.0, max: 9.0, all: vec![9.0, 1.0, 2.0] });
        let even = Spread::of([4.0, 1.0, 2.0, 8.0]).unwrap();
        assert!((even.median - 3.0).abs() < f64::EPSILON);
        assert_eq!(Spread::of([]), None);
    }
}
