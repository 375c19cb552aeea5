//! What a processor can do, and what of a schemata it takes.

use std::collections::BTreeMap;

use super::Lines;

#[derive(Debug, Clone)]
pub(crate) struct Shape {
    /// The ids of the last-level caches.
    pub(crate) domains: Vec<u32>,
    pub(crate) ways: u32,
    pub(crate) min_ways: u32,
    pub(crate) shareable: u32,
    pub(crate) cdp: bool,
    pub(crate) closids: usize,
    pub(crate) rmids: usize,
    /// Whether counting groups can be moved (Linux 6.4 and later).
    pub(crate) renames: bool,
    /// The least value, the step, the most, and whether the values are percentages.
    pub(crate) bandwidth: Option<(u32, u32, u32, bool)>,
}

impl Shape {
    /// Two sockets with a cache each, of which the second has the id 2.
    pub(crate) fn intel() -> Self {
        Self {
            domains: vec![0, 2],
            ways: 15,
            min_ways: 1,
            shareable: 0x6000,
            cdp: false,
            closids: 15,
            rmids: 64,
            renames: true,
            bandwidth: Some((10, 10, 100, true)),
        }
    }

    /// Two sockets with two caches each, and gaps between their ids.
    pub(crate) fn amd() -> Self {
        let bandwidth = Some((0, 1, 2048, false));
        Self { domains: vec![0, 1, 8, 9], ways: 16, shareable: 0, closids: 16, bandwidth, ..Self::intel() }
    }

    pub(crate) fn caches(&self) -> &'static [&'static str] {
        if self.cdp { &["L3CODE", "L3DATA"] } else { &["L3"] }
    }

    pub(crate) fn everything(&self) -> Lines {
        let all = |value| self.domains.iter().map(|id| (*id, value)).collect::<BTreeMap<_, _>>();
        let mut lines: Lines = self.caches().iter().map(|name| (*name, all((1 << self.ways) - 1))).collect();
        if let Some((_, _, most, _)) = self.bandwidth {
            lines.insert("MB", all(most));
        }
        lines
    }

    /// All lines are taken or none.
    pub(crate) fn changed(&self, now: &Lines, text: &str) -> Result<Lines, String> {
        let text = text.strip_suffix('\n').ok_or("")?;
        let mut lines = now.clone();
        for line in text.split('\n') {
            let (name, rest) = line.split_once(':').ok_or("Missing ':'")?;
            let name = name.trim();
            let unknown = || format!("Unknown or unsupported resource name '{name}'");
            let values = lines.iter_mut().find(|(there, _)| **there == name).ok_or_else(unknown)?.1;
            for part in rest.split(';') {
                let (id, value) = part.split_once('=').ok_or("Missing '=' or non-numeric domain")?;
                let id: u32 = id.parse().map_err(|_| "Missing '=' or non-numeric domain")?;
                let place = values.get_mut(&id).ok_or("")?;
                *place = if name == "MB" { self.throttle(value)? } else { self.mask(value)? };
            }
        }
        Ok(lines)
    }

    fn mask(&self, text: &str) -> Result<u32, String> {
        let mask = u32::from_str_radix(text.trim(), 16)
            .map_err(|_| format!("Non-hex character in the mask {text}"))?;
        if mask == 0 || mask >= 1 << self.ways {
            return Err("Mask out of range".into());
        }
        let run = mask >> mask.trailing_zeros();
        if run & (run + 1) != 0 {
            return Err(format!("The mask {mask:x} has non-consecutive 1-bits"));
        }
        if mask.count_ones() < self.min_ways {
            return Err(format!("Need at least {} bits in the mask", self.min_ways));
        }
        Ok(mask)
    }

    fn throttle(&self, text: &str) -> Result<u32, String> {
        let (least, step, most, _) = self.bandwidth.ok_or("no MB")?;
        let value: u32 = text.trim().parse().map_err(|_| format!("Invalid MB value {text}"))?;
        if value < least || value > most {
            return Err(format!("MB value {value} out of range [{least},{most}]"));
        }
        Ok(value.div_ceil(step) * step)
    }
}
