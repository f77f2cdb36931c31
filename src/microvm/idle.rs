//! How long nobody has to use a machine until it is suspended by itself.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A time of at least a second, or `off`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "IdleText")]
pub struct Idle(u64);

impl Idle {
    /// In seconds; 0 where it is off.
    pub fn seconds(self) -> u64 {
        self.0
    }

    /// As it is kept: a machine that names none is never suspended by itself.
    pub fn unless_off(self) -> Option<Self> {
        (self.0 > 0).then_some(self)
    }
}

impl FromStr for Idle {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self(0));
        }
        let unit = |letter| match letter {
            's' => Some(1),
            'm' => Some(60),
            'h' => Some(60 * 60),
            'd' => Some(24 * 60 * 60),
            _ => None,
        };
        let number = text.get(..text.len().saturating_sub(1)).and_then(|number| number.parse::<u32>().ok());
        match (number, text.chars().last().and_then(unit)) {
            (Some(number), Some(unit)) if number > 0 => Ok(Self(u64::from(number) * unit)),
            _ => Err("give a time such as `90s`, `30m`, `2h` or `1d`, or `off`".to_owned()),
        }
    }
}

/// As it is typed.
impl fmt::Display for Idle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [('d', 24 * 60 * 60), ('h', 60 * 60), ('m', 60)];
        let unit = units.into_iter().find(|(_, unit)| self.0.is_multiple_of(*unit)).unwrap_or(('s', 1));
        f.pad(&if self.0 == 0 { "off".to_owned() } else { format!("{}{}", self.0 / unit.1, unit.0) })
    }
}

/// Seconds as mvm writes them, or text as people do.
#[derive(Deserialize)]
#[serde(untagged)]
enum IdleText {
    Seconds(u64),
    Text(String),
}

impl TryFrom<IdleText> for Idle {
    type Error = String;

    fn try_from(text: IdleText) -> Result<Self, String> {
        match text {
            IdleText::Seconds(seconds) => Ok(Self(seconds)),
            IdleText::Text(text) => text.parse(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        for (text, seconds) in
            [("off", 0), ("1s", 1), ("90s", 90), ("30m", 1800), ("2h", 7200), ("1d", 86400)]
        {
            let idle: Idle = text.parse().unwrap();
            assert_eq!((idle.seconds(), idle.to_string().as_str()), (seconds, text));
        }
        for bad in ["", "0s", "30", "m", "-1m", "1.5h", "1w", "30 m", "5µ", "99999999999s"] {
            assert!(bad.parse::<Idle>().is_err(), "{bad}");
        }
        assert_eq!("60s".parse::<Idle>().unwrap().to_string(), "1m");
        assert_eq!("off".parse::<Idle>().unwrap().unless_off(), None);
    }
}
