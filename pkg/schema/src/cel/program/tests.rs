// SPDX-License-Identifier: Apache-2.0
//! Tables of expressions and what they give: a table a library. Nothing panics on any text.

use proptest::prelude::*;

use super::*;
use crate::cel::functions;

struct Nothing;

impl<'a> Activation<'a> for Nothing {
    fn variable(&self, _: &str) -> Option<Value<'a>> {
        None
    }
}

/// As `'%s'.format` writes the result, or the fault.
fn eval(source: &str) -> String {
    let program = match Environment::default().compile(source) {
        Ok(program) => program,
        Err(issues) => return issues.lines().next().unwrap_or_default().to_owned(),
    };
    match program.run(&Nothing, 1_000_000).0 {
        Ok(value) => functions::show(&value),
        Err(fault) => format!("fault: {fault}"),
    }
}

fn table(rows: &[(&str, &str)]) {
    for (source, want) in rows {
        assert_eq!(eval(source), *want, "{source}");
    }
}

#[test]
fn what_is_wrong_is_told_at_its_place_in_upstreams_words() {
    const NO_RANGE: &str = "network address parse error during conversion from string:";
    table(&[
        ("s,elf", "ERROR: <input>:1:2: Syntax error: mismatched input ',' expecting <EOF>"),
        ("bytes('a'", "ERROR: <input>:1:10: Syntax error: missing ')' at '<EOF>'"),
        ("true ? bytes('a'", "ERROR: <input>:1:17: Syntax error: mismatched input '<EOF>' expecting ')'"),
        ("[1, dyn(2)]", "ERROR: <input>:1:8: expected type 'int' but found 'dyn'"),
        ("{type({})", "ERROR: <input>:1:10: Syntax error: mismatched input '<EOF>' expecting ':'"),
        ("url('x')0x.getQuery()", "ERROR: <input>:1:9: Syntax error: mismatched input '0' expecting <EOF>"),
        ("[1].map(x.y, 1)", "ERROR: <input>:1:10: argument is not an identifier"),
        ("[1].all(x.y, true)", "ERROR: <input>:1:10: argument must be a simple name"),
        ("[1].all(i, i, true)", "ERROR: <input>:1:12: duplicate variable name: i"),
        ("optional.of(1).optMap(1, 2)", "ERROR: <input>:1:23: optMap() variable name must be a simple identifier"),
        ("[1].existsOne(x, true)", "ERROR: <input>:1:14: undeclared reference to 'existsOne' (in container '')"),
        ("'é'.nope()", "ERROR: <input>:1:9: undeclared reference to 'nope' (in container '')"),
        ("duration(-5)", "ERROR: <input>:1:10: invalid duration argument"),
        ("type(1) == kubernetes.URL", "ERROR: <input>:1:12: undeclared reference to 'kubernetes' (in container '')"),
        ("quantity('1').x", "ERROR: <input>:1:14: unexpected failed resolution of 'kubernetes.Quantity'"),
        (
            "quantity('1').sign()",
            "ERROR: <input>:1:19: found no matching overload for 'sign' applied to 'kubernetes.Quantity.()'",
        ),
        ("true ? null : optional.of(1)", "null"),
        ("timestamp('2024-06-01T00:00:00+05:30') + duration('1h')", "2024-06-01T01:00:00+05:30"),
        ("timestamp('9999-12-31T00:00:00Z') - timestamp('0001-01-01T00:00:00Z')", "fault: integer overflow"),
        ("[lists.range(1)[1]].sort()", &format!("fault: {}", super::super::eval::UNCOUNTED)),
        ("cidr('10.0.0.0')", &format!("fault: {NO_RANGE} {NO_RANGE} netip.ParsePrefix(\"10.0.0.0\"): no '/'")),
        ("string(1e6) + string(123456.0)", "1e+06123456"),
    ]);
}

#[test]
fn the_language() {
    table(&[
        ("1 + 2 * 3", "7"),
        ("7 / 2", "3"),
        ("-7 % 3", "-1"),
        ("1 / 0", "fault: division by zero"),
        ("9223372036854775807 + 1", "fault: integer overflow"),
        ("1 < 1.5 && 2u > 1 && dyn(1) == 1.0", "true"),
        ("false && 1 / 0 > 0", "false"),
        ("1 / 0 > 0 || true", "true"),
        ("1 / 0 > 0 && true", "fault: division by zero"),
        ("[1, 2][2]", "fault: index out of bounds: 2"),
        ("{'a': 1}.b", "fault: no such key: b"),
        ("has({'a': 1}.b)", "false"),
        ("'a' in ['a'] && 'k' in {'k': 1}", "true"),
        ("type(1) == int && type('') == string && type([]) == list", "true"),
        ("[1, 2, 3].exists(x, 6 / (x - 1) == 6)", "true"),
        ("[1, 2, 3].all(x, x > 0)", "true"),
        ("[1, 2, 3].exists_one(x, x > 2)", "true"),
        ("[1, 2, 3].map(x, x > 1, x * 2)", "[4, 6]"),
        ("[1, 2, 3].filter(x, x != 2)", "[1, 3]"),
        ("{'a': 1, 'b': 2}.map(k, k)", "[\"a\", \"b\"]"),
        ("b'ab' + b'c'", "abc"),
        ("size('näïve')", "5"),
        ("string(1.0) + string(true) + string(1u)", "1true1"),
        ("int('x')", "fault: type conversion error from 'string' to 'int'"),
        ("double('1.5') + double(1)", "2.5"),
        ("uint(-1)", "fault: unsigned integer overflow"),
    ]);
}

#[test]
fn two_variables() {
    table(&[
        ("[5, 6].all(i, v, v == i + 5)", "true"),
        ("{'a': 1}.exists(k, v, k == 'a' && v == 2)", "false"),
        ("[5, 6].existsOne(i, v, v >= 6)", "true"),
        ("[5, 6].transformList(i, v, i * v)", "[0, 6]"),
        ("[5, 6].transformList(i, v, i > 0, v)", "[6]"),
        ("{'a': 1}.transformMap(k, v, v + 1)", "{\"a\":2}"),
        ("{'a': 1}.transformMapEntry(k, v, {k + 'x': v + 6})['ax']", "7"),
        ("{'a': 1, 'b': 2}.transformMapEntry(k, v, {'x': v})", "fault: insert failed: key x already exists"),
    ]);
}

#[test]
fn optionals() {
    table(&[
        ("{'a': 1}.?a.orValue(2)", "1"),
        ("{'a': 1}.?b.orValue(2)", "2"),
        ("{'a': {'b': 3}}.?a.?b.hasValue()", "true"),
        ("{'a': {'b': 3}}.?x.b.orValue(0)", "0"),
        ("[1][?4].orValue(9)", "9"),
        ("optional.none().or(optional.of(3)).value()", "3"),
        ("optional.none().value()", "fault: optional.none() dereference"),
        ("optional.ofNonZeroValue('').hasValue()", "false"),
        ("optional.of(2).optMap(x, x * 2).value()", "4"),
        ("optional.of(2).optFlatMap(x, optional.of(x + 1)).value()", "3"),
        ("[?optional.of(1), ?optional.none(), 3]", "[1, 3]"),
        ("{?'a': optional.none(), 'b': 1}", "{\"b\":1}"),
        ("[optional.of(1), optional.none()].unwrapOpt()", "[1]"),
    ]);
}

#[test]
fn strings() {
    table(&[
        ("'hello'.charAt(4) + 'hello'.charAt(5)", "o"),
        ("'hello'.charAt(6)", "fault: index out of range: 6"),
        ("'Hello, World'.indexOf('o', 5)", "8"),
        ("'Hello, World'.lastIndexOf('o', 6)", "4"),
        ("'abc'.indexOf('') + 'abc'.lastIndexOf('')", "3"),
        ("'aXb'.lowerAscii() + 'aXb'.upperAscii()", "axbAXB"),
        ("'hello'.replace('l', 'L', 1)", "heLlo"),
        ("'a-b-c'.split('-', 2)[1]", "b-c"),
        ("'abc'.split('')", "[\"a\", \"b\", \"c\"]"),
        ("'hello'.substring(1, 3)", "el"),
        ("'hello'.substring(6)", "fault: index out of range: 6"),
        ("'hello'.substring(3, 1)", "fault: invalid substring range. start: 3, end: 1"),
        ("'  x '.trim() + ['a', 'b'].join() + ['a', 'b'].join(',')", "xaba,b"),
        ("strings.quote('a\"b')", "\"a\\\"b\""),
        ("'%s-%d-%x-%X-%o-%b'.format(['a', 255, 255, 255, 255, 5])", "a-255-ff-FF-377-101"),
        ("'%.2f'.format([3.14159])", "3.14"),
        ("'%s %s'.format([[1, 'a'], {'a': true}])", "[1, \"a\"] {\"a\":true}"),
        ("'%s %s'.format([duration('90s'), timestamp('2020-01-01T00:00:00Z')])", "90s 2020-01-01T00:00:00Z"),
        ("'%%|%s|%s'.format([null, 1.5])", "%|null|1.5"),
        ("'%d'.format([])", "ERROR: <input>:1:12: index 0 out of range"),
        ("'abc 123 def 45'.findAll('[0-9]+').join(',') + 'x'.find('z')", "123,45"),
        ("'abc 123'.findAll('[0-9]', 2)", "[\"1\", \"2\"]"),
        ("'aXb'.matches('(?i)axb') && !'abc'.matches('^b')", "true"),
    ]);
}

#[test]
fn lists_and_sets() {
    table(&[
        ("[3, 1, 2, 3].sum()", "9"),
        ("[].sum() == 0", "true"),
        ("[duration('1s'), duration('2s')].sum()", "3s"),
        ("['b', 'a'].min() + ['b', 'a'].max()", "ab"),
        ("[3, 1, 3].lastIndexOf(3) + [3, 1, 3].indexOf(4)", "1"),
        ("['a', 'b'].isSorted() && ![2, 1].isSorted()", "true"),
        ("[3, 1, 2].sort()", "[1, 2, 3]"),
        ("[1, 2, 1].distinct()", "[1, 2]"),
        ("[[1], [2, 3]].flatten()", "[1, 2, 3]"),
        ("[1, 2, 3].slice(1, 3).reverse()", "[3, 2]"),
        ("['bb', 'a'].sortBy(x, x.size())", "[\"a\", \"bb\"]"),
        ("[1, 2].slice(1, 3)", "fault: cannot slice(1, 3), list is length 2"),
        ("lists.range(3)", "[0, 1, 2]"),
        ("[1, 2].first().value() + [1, 2].last().value()", "3"),
        ("sets.contains([1, 2], [2]) && !sets.intersects([1], [2]) && sets.equivalent([1, 2], [2, 1, 1])", "true"),
    ]);
}

#[test]
fn kubernetes_types() {
    table(&[
        ("quantity('1Gi').isGreaterThan(quantity('1G'))", "true"),
        ("isQuantity('1x')", "false"),
        ("quantity('50k').add(20).asInteger()", "50020"),
        ("quantity('1.5').asInteger()", "fault: cannot convert value to integer"),
        ("quantity('1').compareTo(quantity('1000m'))", "0"),
        ("semver('1.2.3-rc.1').isLessThan(semver('1.2.3'))", "true"),
        ("semver('v1.2', true).major()", "1"),
        ("isSemver('v1.0')", "false"),
        ("ip('10.0.0.1').family() + ip('::1').family()", "10"),
        ("ip.isCanonical('2001:DB8::1')", "false"),
        ("isIP('10.0.0.01') || isIP('::ffff:1.2.3.4')", "false"),
        ("string(cidr('10.1.2.3/8').masked())", "10.0.0.0/8"),
        ("cidr('10.0.0.0/8').containsIP('10.9.9.9') && cidr('10.0.0.0/8').containsCIDR('10.0.0.0/16')", "true"),
        ("cidr('10.0.0.0/8').prefixLength()", "8"),
        ("url('https://u@h.example:8443/p/a%20b?q=1&q=2#f').getHost()", "h.example:8443"),
        ("url('https://[::1]:80/').getHostname() + url('https://[::1]:80/').getPort()", "::180"),
        ("url('https://h/p/a%20b?q=1&q=2').getEscapedPath()", "/p/a%20b"),
        ("url('https://h/?q=1&q=2').getQuery()['q']", "[\"1\", \"2\"]"),
        ("url('::')", "fault: URL parse error during conversion from string: parse \"::\": missing protocol scheme"),
        ("isURL('../x')", "false"),
        ("format.dns1123Label().validate('a').hasValue()", "false"),
        ("format.named('labelValue').value().validate('-').hasValue()", "true"),
        ("format.named('nope').hasValue()", "false"),
        ("jsonpatch.escapeKey('a/b~c')", "a~1b~0c"),
    ]);
}

#[test]
fn times() {
    table(&[
        ("timestamp('2020-01-02T03:04:05.006Z').getFullYear()", "2020"),
        ("timestamp('2020-01-02T03:04:05Z').getMonth() + timestamp('2020-01-02T03:04:05Z').getDate()", "2"),
        ("timestamp('2020-01-02T03:04:05Z').getHours('+02:00')", "5"),
        ("timestamp('2020-07-02T03:04:05Z').getHours('Europe/Paris')", "5"),
        ("timestamp('2020-01-05T00:00:00Z').getDayOfWeek()", "0"),
        ("duration('90m').getHours() + duration('1500ms').getMilliseconds()", "1501"),
        ("timestamp('2020-01-01T00:00:00Z') + duration('1h') > timestamp('2020-01-01T00:30:00Z')", "true"),
        ("timestamp('2020-01-02T00:00:00Z') - timestamp('2020-01-01T00:00:00Z')", "86400s"),
        ("timestamp(0) + duration('-1s')", "1969-12-31T23:59:59Z"),
        ("timestamp('9999-12-31T23:59:59Z') + duration('1s')", "fault: timestamp overflow"),
    ]);
}

#[test]
fn what_is_wrong_is_said_in_upstreams_words() {
    table(&[
        ("x", "ERROR: <input>:1:1: undeclared reference to 'x' (in container '')"),
        ("1 + 'a'", "ERROR: <input>:1:3: found no matching overload for '_+_' applied to '(int, string)'"),
        ("'a'.size(1)", "ERROR: <input>:1:9: found no matching overload for 'size' applied to 'string.(int)'"),
        ("[1, 'a']", "ERROR: <input>:1:5: expected type 'int' but found 'string'"),
        ("1 && true", "ERROR: <input>:1:1: expected type 'bool' but found 'int'"),
        ("'a'.b", "ERROR: <input>:1:4: type 'string' does not support field selection"),
        (
            "'a'.all(x, true)",
            "ERROR: <input>:1:1: expression of type 'string' cannot be range of a comprehension (must be list, map, or \
             dynamic)",
        ),
        ("'a'.matches('[')", "ERROR: <input>:1:13: invalid matches argument"),
        ("duration('x')", "ERROR: <input>:1:10: invalid duration argument"),
        ("nope()", "ERROR: <input>:1:5: undeclared reference to 'nope' (in container '')"),
        ("[1].all(1, true)", "ERROR: <input>:1:9: argument must be a simple name"),
    ]);
}

#[test]
fn a_loop_that_costs_too_much_ends() {
    let numbers = vec!["1"; 200].join(", ");
    let source = format!("[{numbers}].all(a, [{numbers}].all(b, [{numbers}].all(c, a + b + c > 0)))");
    assert_eq!(eval(&source), "fault: operation cancelled: actual cost limit exceeded");
}

#[test]
fn deep_and_long_expressions_are_refused_or_computed() {
    for source in [
        "1".to_owned() + &"+1".repeat(40_000),
        "a".to_owned() + &".b".repeat(40_000),
        "(".repeat(5_000) + "1" + &")".repeat(5_000),
        "[".repeat(5_000),
        "!".repeat(20_001) + "true",
        "-".repeat(20_001) + "1",
        "true".to_owned() + &" && true".repeat(10_000),
        "true".to_owned() + &" ? true : true".repeat(5_000),
        "optional.of(1)".to_owned() + &".optMap(x, x)".repeat(40),
        "x".repeat(200_000),
    ] {
        eval(&source);
    }
}

proptest! {
    #[test]
    fn nothing_panics_on_any_text(source in ".{0,60}") {
        eval(&source);
    }

    #[test]
    fn nothing_panics_on_anything_made_of_words(
        words in proptest::collection::vec(
            proptest::sample::select(vec![
                "1", "2u", "1.5", "'a'", "b'x'", "true", "null", "[", "]", "{", "}", "(", ")", ".", ",", ":", "?", "+", "-",
                "*", "/", "%", "==", "<", "&&", "||", "!", "in", "x", "size", "all", "map", "exists", "has", "optMap",
                "optional.of", ".?", "[?", "string", "format", "split", "transformMap", "duration", "type", "dyn", " ",
            ]),
            0..30,
        )
    ) {
        eval(&words.concat());
    }
}
