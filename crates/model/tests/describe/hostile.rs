//! Texts that nobody writes by mistake: none of them panics or takes long.

use halcyon_model::describe::{MOST_BYTES, parse_host, parse_vms};
use proptest::prelude::*;

use super::{LEAST, SMALL, TWO_SOCKET, VMS, host, refused, says, vms};

#[test]
fn messages_stay_short_and_cannot_steer_a_terminal() {
    let long = "x".repeat(100_000);
    for text in [format!("{LEAST}{long} = 1\n"), format!("{LEAST}[[device]]\n\"\\u001b[2J{long}\" = 1\n")] {
        let message = refused(&text).to_string();
        assert!(message.len() < 1_000 && !message.chars().any(char::is_control), "{message:?}");
    }
    says(&refused(&" ".repeat(MOST_BYTES + 1)), 1, &["at most 8388608"]);
}

#[test]
fn deep_and_wide_texts_are_refused_in_good_time() {
    let nested = [
        format!("a = {}", "[".repeat(1_000_000)),
        format!("a = {}", "{a=".repeat(1_000_000)),
        format!("{}a = 1", "a.".repeat(1_000_000)),
        format!("[{}a]", "a.".repeat(1_000_000)),
        (0..50_000).map(|key| format!("a{key}.b.c = 1\n")).collect(),
        "[[a]]\n".repeat(200_000),
    ];
    for text in nested {
        refused(&text);
    }
}

#[test]
fn a_file_cut_short_anywhere_is_refused_or_read_but_never_a_panic() {
    for text in [TWO_SOCKET, SMALL, VMS] {
        let lines = text.lines().count();
        let topology = host(SMALL).topology;
        for end in (0..text.len()).filter(|end| text.is_char_boundary(*end)) {
            for error in [parse_host(&text[..end]).err(), parse_vms(&text[..end], &topology).err()] {
                assert!(error.is_none_or(|error| (1..=lines).contains(&error.line)));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_answered(text in "\\PC*", ascii in "[\\[\\]{}=\"a-z0-9.\n# ]{0,200}") {
        let topology = host(SMALL).topology;
        for text in [&text, &ascii] {
            let _ = (parse_host(text), parse_vms(text, &topology));
        }
    }

    /// The demo host with one piece put in place of another: mostly valid TOML with one thing amiss.
    #[test]
    fn any_exchange_of_two_values_is_answered(from in 0_usize..200, to in 0_usize..200) {
        for text in [TWO_SOCKET, VMS] {
            let mut lines: Vec<&str> = text.lines().collect();
            let (from, to) = (from % lines.len(), to % lines.len());
            lines[to] = lines[from];
            let text = lines.join("\n");
            if let Err(error) = parse_host(&text) {
                prop_assert!((1..=lines.len()).contains(&error.line));
            }
            let _ = vms(&text);
        }
    }
}
