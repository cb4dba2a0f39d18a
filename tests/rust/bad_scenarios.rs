//! Corrupt, foreign and hostile scenario files: each is refused with an error that names the field.

use vnet_rx::scenario::Scenario;

/// A scenario of one operation, whose fields are these.
fn with_operation(fields: &str) -> String {
    with(CONFIG, &format!("[{{{fields}}}]"))
}

fn with_action(fields: &str) -> String {
    with_operation(&format!(r#""op": "device", "do": [{{{fields}}}]"#))
}

fn with(config: &str, operations: &str) -> String {
    format!(r#"{{"vnet_rx_scenario": 1, "config": {{{config}}}, "operations": {operations}}}"#)
}

const CONFIG: &str =
    r#""mode": "mergeable", "strategy": "deferred", "dialect": "modern", "pages": 64"#;

fn error_of(text: &str) -> String {
    Scenario::from_json(text).unwrap_err().to_string()
}

#[test]
fn a_wrong_field_is_named_together_with_what_would_be_possible() {
    let send = |fields: &str| with_action(&format!(r#""act": "send", "size": 60, {fields}"#));
    let cases = [
        (
            with_operation(r#""op": "poll", "budget": -1"#),
            "operations[0].budget: -1 is not possible: choose 1 to 65535",
        ),
        (with_operation(r#""op": "poll", "budget": 0"#), "operations[0].budget: 0 is not possible"),
        (
            with_operation(r#""op": "poll", "budget": 1.0"#),
            "operations[0].budget: 1 is not possible",
        ),
        (with_operation(r#""op": "poll", "budget": 1e99"#), "operations[0].budget: 1"),
        (
            with_operation(r#""op": "poll", "budget": true"#),
            "operations[0].budget: true is not possible",
        ),
        (
            with_operation(r#""op": "poll", "budget": "1""#),
            "operations[0].budget: \"1\" is not possible",
        ),
        (with_operation(r#""op": "poll""#), "operations[0].budget: is missing"),
        (
            with_operation(r#""op": "fly""#),
            "operations[0].op: \"fly\" is not possible: choose one of refill, poll",
        ),
        (with_operation(r#""op": 7"#), "operations[0].op: 7 is not possible"),
        (with_operation(""), "operations[0].op: is missing"),
        (
            with_operation(r#""op": "refill", "budget": 1"#),
            "operations[0].budget: is not a field: the fields are none",
        ),
        (with_operation(r#""op": "release", "packet": 65536"#), "operations[0].packet: 65536"),
        (
            with_operation(
                r#""op": "poll", "budget": 1, "at": [{"point": "noon", "pass": 1, "do": []}]"#,
            ),
            "operations[0].at[0].point: \"noon\" is not possible: choose one of used_idx_read, header_copied",
        ),
        (
            with_operation(
                r#""op": "poll", "budget": 1, "at": [{"point": "after_rearm", "pass": 0, "do": []}]"#,
            ),
            "operations[0].at[0].pass: 0",
        ),
        (
            with_operation(
                r#""op": "poll", "budget": 1, "at": [{"point": "after_rearm", "pass": 1}]"#,
            ),
            "operations[0].at[0].do: is missing",
        ),
        (
            with_action(r#""act": "jump", "by": 0"#),
            "operations[0].do[0].by: 0 is not possible: choose 1 to 65535",
        ),
        (with_action(r#""act": "bark""#), "operations[0].do[0].act: \"bark\""),
        (
            with_action(r#""act": "scribble", "area": "used", "at": 0, "bytes": """#),
            "operations[0].do[0].area: \"used\" is not possible: choose one of desc, avail",
        ),
        (
            with_action(r#""act": "rewrite", "back": 0, "at": 0, "bytes": "abc""#),
            "operations[0].do[0].bytes: \"abc\"",
        ),
        (
            with_action(r#""act": "rewrite", "back": 0, "at": 0, "bytes": "a b ""#),
            "operations[0].do[0].bytes: \"a b \"",
        ),
        (
            with_action(r#""act": "rewrite", "back": 64, "at": 0, "bytes": """#),
            "operations[0].do[0].back: 64 is not possible: choose 0 to 63",
        ),
        (with_action(r#""act": "send", "size": 70001"#), "operations[0].do[0].size: 70001"),
        (
            send(r#""header": [0, 0, 0]"#),
            "operations[0].do[0].header: a list of 3 is not possible: give a list of 6",
        ),
        (send(r#""header": [256, 0, 0, 0, 0, 0]"#), "operations[0].do[0].header[0]: 256"),
        (send(r#""buffers": 65"#), "operations[0].do[0].buffers: 65"),
        (send(r#""len": [[64, 1]]"#), "operations[0].do[0].len[0][0]: 64"),
        (send(r#""id": [[0, 4294967296]]"#), "operations[0].do[0].id[0][1]: 4294967296"),
        (send(r#""id_add": [[0]]"#), "operations[0].do[0].id_add[0]: a list of 1"),
        (
            send(r#""fill": {}"#),
            "operations[0].do[0].fill: an object is not possible: give a list of at most 64",
        ),
        (
            send(r#""colour": 1"#),
            "operations[0].do[0].colour: is not a field: the fields are size, seed",
        ),
        (with(CONFIG, "{}"), "operations: an object is not possible: give a list"),
        (
            with(CONFIG, "[7]"),
            "operations[0]: 7 is not possible: give an object with a field \"op\"",
        ),
        (
            with(
                r#""mode": "huge", "strategy": "deferred", "dialect": "modern", "pages": 64"#,
                "[]",
            ),
            "config.mode: \"huge\" is not possible: choose one of small, big, mergeable",
        ),
        (with(r#""mode": "small""#, "[]"), "config.strategy: is missing"),
        (
            with(&format!(r#"{CONFIG}, "ring_size": 6"#), "[]"),
            "config.ring_size: 6 is not possible: choose a power of two from 2 to 1024",
        ),
        (
            with(&format!(r#"{CONFIG}, "ring_size": 4294967296"#), "[]"),
            "config.ring_size: 4294967296",
        ),
        (
            with(&format!(r#"{CONFIG}, "event_idx": 1"#), "[]"),
            "config.event_idx: 1 is not possible: choose true or false",
        ),
        (
            with(&format!(r#"{CONFIG}, "features": 0"#), "[]"),
            "config.features: 0 is not possible: mode, dialect and event_idx say otherwise",
        ),
        (
            with(
                &format!(r#"{CONFIG}, "features": {}"#, 1u64 << 34 | 1 << 32 | 1 << 29 | 1 << 15),
                "[]",
            ),
            "config: RING_PACKED",
        ),
        (
            with(r#""mode": "big", "strategy": "eager", "dialect": "legacy", "pages": 18"#, "[]"),
            "config: an arena of 18 pages is too small",
        ),
        (
            with(
                r#""mode": "big", "strategy": "eager", "dialect": "legacy", "pages": 64, "ring_size": 16"#,
                "[]",
            ),
            "config: a ring of 16 is too small",
        ),
        (
            with(
                r#""mode": "small", "strategy": "eager", "dialect": "legacy", "pages": 4097"#,
                "[]",
            ),
            "config.pages: 4097",
        ),
        (
            r#"{"vnet_rx_scenario": 2, "config": {}, "operations": []}"#.into(),
            "vnet_rx_scenario: 2 is not possible: choose 1 to 1",
        ),
        (r#"{"config": {}, "operations": []}"#.into(), "vnet_rx_scenario: is missing"),
        (r#"{"vnet_rx_scenario": 1, "operations": []}"#.into(), "config: is missing"),
        (
            r#"{"vnet_rx_scenario": 1, "config": {}, "operations": [], "expect": [1, 2]}"#.into(),
            "config.mode: is missing",
        ),
        ("[]".into(), "vnet_rx_scenario: is missing"),
    ];
    for (text, expected) in cases {
        let error = error_of(&text);
        assert!(error.starts_with(expected), "{text}: {error}");
    }
    let text = with(CONFIG, r#"[{"op": "stop"}], "expect": []"#);
    assert_eq!(error_of(&text), "expect: 0 numbers for 1 operations: one each");
    let error = Scenario::from_json(&with_operation(r#""op": "poll", "budget": 0"#)).unwrap_err();
    assert_eq!(error.field(), "operations[0].budget");
}

#[test]
fn what_is_no_json_or_too_much_of_it_is_refused_before_anything_is_made_of_it() {
    let good = with_operation(r#""op": "poll", "budget": 1"#);
    Scenario::from_json(&good).unwrap();
    for cut in 0..good.len() {
        let error = error_of(&good[..cut]);
        assert!(error.starts_with("the scenario is not JSON: EOF"), "{error}");
        assert!(error.contains("line 1 column"), "{error}");
    }
    let twice = with_operation(r#""op": "poll", "budget": 1, "budget": 2"#);
    assert!(error_of(&twice).contains(r#"the key "budget" stands twice"#));
    for (deep, close) in [("[", "]"), (r#"{"a":"#, "}")] {
        for depth in [127, 1000, 100_000] {
            let text = format!("{}1{}", deep.repeat(depth), close.repeat(depth));
            error_of(&text);
        }
    }
    assert!(error_of(&"[".repeat(1000)).contains("recursion limit"));
    let long = format!("{good}{}", " ".repeat(4 << 20));
    assert!(error_of(&long).contains("at most 4194304"));
    let many = with(CONFIG, &format!("[{}{{}}]", "{},".repeat(10_000)));
    assert_eq!(
        error_of(&many),
        "operations: a list of 10001 is not possible: give a list of at most 10000"
    );
    let jump = r#"{"act": "jump", "by": 1}"#;
    let acts = format!(r#""op": "device", "do": [{}]"#, [jump; 65].join(","));
    assert!(error_of(&with_operation(&acts)).starts_with("operations[0].do: a list of 65"));
    let place = r#"{"point": "before_rearm", "pass": 1, "do": []}"#;
    let places = format!(r#""op": "poll", "budget": 1, "at": [{}]"#, [place; 17].join(","));
    assert!(error_of(&with_operation(&places)).starts_with("operations[0].at: a list of 17"));
    for (digits, fits) in [(16_384, true), (16_386, false)] {
        let bytes = "0".repeat(digits);
        let text =
            with_action(&format!(r#""act": "rewrite", "back": 0, "at": 0, "bytes": "{bytes}""#));
        assert_eq!(Scenario::from_json(&text).is_ok(), fits);
    }
    let note = format!(r#"{{"vnet_rx_scenario": 1, "note": "{}""#, "x".repeat(10_001));
    let text = format!("{note}, \"config\": {{{CONFIG}}}, \"operations\": []}}");
    let error = error_of(&text);
    assert!(error.starts_with("note: ") && error.len() < 200, "{error}");
}
