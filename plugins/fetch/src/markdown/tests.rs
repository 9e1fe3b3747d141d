use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::*;
use crate::tree::Tree;
use portreeve_sdk::text;

const BYTES_MAX: usize = 1 << 20;

fn markdown_within(html: &str, links: bool, bytes_max: usize) -> (String, bool) {
    let tree = Tree::parse(html);
    let article = Article::find(&tree, true);
    let page = Url::parse("https://example.com/a/b?q=1").unwrap();
    write(&article, &page, links, bytes_max)
}

fn markdown(html: &str) -> String {
    markdown_within(html, true, BYTES_MAX).0
}

fn check(html: &str, expected: Expect) {
    expected.assert_eq(&markdown(html));
}

#[test]
fn blocks() {
    check(
        "<h1>A  <em>title</em></h1><p>One\n two<p>three<br>four<br></p><hr><h3></h3>tail\
         <blockquote>said<p>twice</blockquote>",
        expect![[r"
            # A *title*

            One two

            three\
            four

            ---

            tail

            > said
            >
            > twice"]],
    );
    check(
        "<div><div>a</div>b<section>c</section></div><dl><dt>Term<dd>Meaning</dl>\
         <figure><img alt='A ship'><figcaption>At sea</figcaption></figure>",
        expect![[r"
            a

            b

            c

            **Term**

            Meaning

            (image: A ship)

            *At sea*"]],
    );
}

#[test]
fn lists() {
    check(
        "<ul><li>a<li>b<ul><li>b1<li><p>b2<p>more</ul>after<li></li></ul>\
         <ol start=9><li>nine<li>ten<br>x<ul><li>y</ul></ol>end",
        expect![[r"
            - a
            - b
              - b1
              - b2

                more

              after

            9. nine
            10. ten\
                x
                - y

            end"]],
    );
    check(
        "<ul><li><blockquote>q</blockquote><li><pre>c\n  d</pre></ul>",
        expect![[r"
            - > q
            - ```
              c
                d
              ```"]],
    );
}

#[test]
fn inline_marks() {
    check(
        "<p>a<b> bold </b>b <strong><b>twice</b></strong> <i></i><b> </b><code>x  `y`</code> \
         <del>gone</del> <q>said</q> 10<sup>6</sup> x<sub>n+1</sub> <math alttext='a^2'><mi>a</mi></math> <math><semantics><mi>b<mo>=<mn>2</mn></mo></mi><annotation>b=2</annotation></semantics></math>",
        expect!["a **bold** b **twice** `` x `y` `` ~~gone~~ “said” 10^6 x_(n+1) `a^2` b=2"],
    );
    check(
        "<b>one<p>two</b>three",
        expect![[r#"
            **one**

            **two**three"#]],
    );
}

#[test]
fn links_lead_where_they_say() {
    check(
        "<a href='/x y(1)'>a</a> <a href=c>b <b>c</b></a> <a href='//o.example/'><img alt=Logo></a> \
         <a href='mailto:a@example.com'>m</a>",
        expect![
            "[a](https://example.com/x%20y%281%29) [b **c**](https://example.com/a/c) [(image: Logo)](https://o.example/) [m](mailto:a@example.com)"
        ],
    );
    // Those that run, that hold a password, that lead nowhere, and one without a text.
    for html in [
        "<a href='javascript:alert(1)'>x</a>",
        "<a href=' java\nscript:alert(1)'>x</a>",
        "<a href='data:text/html,hi'>x</a>",
        "<a href='https://user:pass@example.com/'>x</a>",
        "<a href='https://'>x</a>",
        "<a href='#top'>x</a>",
        "<a>x</a>",
        "<a href=/><img></a>x",
    ] {
        assert_eq!(markdown(html), "x", "{html}");
    }
    let html = "<base href='https://b.example/d/'><p><a href=c>x</a>";
    assert_eq!(markdown(html), "[x](https://b.example/d/c)");
    assert_eq!(markdown_within(html, false, BYTES_MAX).0, "x");
}

#[test]
fn what_the_page_writes_in_markdown_stays_text() {
    check(
        "<p># no heading<p>![img](https://evil.example/?q=secret)<p>* x<p>1. y<p>- z<p>&gt; w\
         <p>&lt;b&gt; &amp;lt; `c` a_b _d_ \\ ~~e~~<p>---<p>+1 and -1<p>10.5",
        expect![[r"
            \# no heading

            !\[img\](https://evil.example/?q=secret)

            \* x

            1\. y

            \- z

            \> w

            \<b> \&lt; \`c\` a_b \_d\_ \\ \~\~e\~\~

            \---

            +1 and -1

            10.5"]],
    );
    // An exclamation mark before a link makes no image of it.
    assert_eq!(
        markdown("<p>Look!<a href=/>here</a>"),
        r"Look\![here](https://example.com/)"
    );
}

#[test]
fn code_is_kept_as_it_is() {
    check(
        "<pre><code class='hl language-rust'>fn a() {\n    b(\"&lt;*&gt;\")\n}\n</code></pre>\
         <pre>```\nnot the end\n```</pre><pre class='language-a`b'>x\r\ny\u{202e}z</pre><pre> </pre>",
        expect![[r#"
            ```rust
            fn a() {
                b("<*>")
            }
            ```

            ````
            ```
            not the end
            ```
            ````

            ```
            x
            yz
            ```"#]],
    );
}

#[test]
fn tables() {
    check(
        "<table><caption>Ships</caption><thead><tr><th>Name<th>Tons</thead>\
         <tr><td><a href=/ada>Ada</a><td>1|2<tr><td colspan=2>none<tr><td><td><tr><td><p>a<p>b<td>c<br>d</table>",
        expect![[r"
            **Ships**

            | Name | Tons |
            | --- | --- |
            | [Ada](https://example.com/ada) | 1\|2 |
            | none | |
            | a b | c d |"]],
    );
    // Without a head; and those that only place what lies in them.
    check(
        "<table><tr><td>a<td>b</table>",
        expect![[r"
            | | |
            | --- | --- |
            | a | b |"]],
    );
    check(
        "<table><tr><td>a<tr><td>b</table><table role=presentation><tr><td>c<td>d</table>\
         <table><tr><td><table><tr><td>e<td>f</table><td>g</table>",
        expect![[r"
            a

            b

            c

            d

            | | |
            | --- | --- |
            | e | f |

            g"]],
    );
}

#[test]
fn broken_markup_is_read_as_browsers_do() {
    check(
        "<p>a<b>b<i>c</b>d</i>e</p></div><li>x<td>y<table>z<tr><td>&eacute;&#0;&#x202E;&nbsp;&notit;<a href='",
        expect![[r#"
            a**b*c****d*e

            xyz

            é� ¬it;"#]],
    );
    assert_eq!(markdown(""), "");
    assert_eq!(markdown("</"), "\\</");
    assert_eq!(markdown("<!doctype html><html><frameset><frame src=x>"), "");
}

#[test]
fn nesting_and_repeating_are_bounded() {
    let unit = |text: &str, times: usize| text.repeat(times);
    for (html, says) in [
        (format!("{}x", unit("<div>", 100_000)), "x"),
        (format!("{}x", unit("<blockquote>", 100_000)), "x"),
        (format!("{}x", unit("<ul><li>", 50_000)), "x"),
        (format!("{}x", unit("<table><tr><td>", 30_000)), "x"),
        (format!("{}x", unit("<a href=/>", 30_000)), "x"),
        (format!("{}x", unit("<b id=i><p>", 20_000)), "x"),
        (format!("{}x", unit("<svg><g>", 50_000)), ""),
        (format!("{}x", unit("<table><b>", 20_000)), "x"),
        (format!("<p>{}x", unit("<font size=1><i>", 20_000)), "x"),
        (format!("{}x", unit("<div><b></div>", 5_000)), "x"),
    ] {
        let (text, _) = markdown_within(&html, true, BYTES_MAX);
        let start: String = html.chars().take(30).collect();
        assert!(text.len() <= BYTES_MAX, "{start}");
        assert!(text.contains(says), "{start}: {}", text.len());
    }
    let table = format!("<table>{}</table>", unit("<tr><td>a<td>b", 100_000));
    let (text, complete) = markdown_within(&table, true, 1_000);
    assert!(text.len() == 1_000 && !complete);
    let wide = format!("<table><tr>{}</table>", unit("<td>a", 1_000));
    assert!(markdown(&wide).starts_with("a\n\na"));
}

/// Bits of HTML, so that random pages have structure.
fn html() -> impl Strategy<Value = String> {
    let bit = prop_oneof![
        2 => "[ a-z*_#>`\\[\\]!|~\\\\&;\u{202e}\u{200b}\u{7}é-]{0,8}".prop_map(String::from),
        4 => prop::sample::select(
            "p div b i a table tr td th ul ol li pre code blockquote h1 br hr img sup svg math \
             template select option form nav main article script style title q dl dt dd"
                .split(' ')
                .collect::<Vec<_>>()
        )
        .prop_flat_map(|name| prop_oneof![
            Just(format!("<{name}>")),
            Just(format!("</{name}>")),
            Just(format!("<{name} href='x' alt='![y](z)' colspan=3 start=7>")),
        ]),
    ];
    prop::collection::vec(bit, 0..60).prop_map(|bits| bits.concat())
}

proptest! {
    #[test]
    fn any_page_is_written_within_its_bound(
        html in html(), links in any::<bool>(), bytes_max in 0usize..2_000
    ) {
        let (text, complete) = markdown_within(&html, links, bytes_max);
        prop_assert!(text.len() <= bytes_max);
        prop_assert!(text.chars().all(text::is_shown));
        let (all, _) = markdown_within(&html, links, BYTES_MAX);
        prop_assert!(all.starts_with(&text));
        prop_assert_eq!(complete, all == text);
    }

    #[test]
    fn any_text_is_read(html in any::<String>()) {
        let text = markdown(&html);
        prop_assert!(text.chars().all(text::is_shown));
    }
}
