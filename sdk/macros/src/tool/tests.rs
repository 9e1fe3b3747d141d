//! What `#[tool]` refuses, with the place it points at; and the parts it accepts.

use expect_test::{Expect, expect};

/// Expands `#[tool(attribute)] item`; an error shows as `line:column: message`.
fn check(attribute: &str, item: &str, expected: Expect) {
    let tokens = (attribute.parse(), item.parse());
    let (Ok(attribute), Ok(item)) = tokens else {
        panic!("the test's text is no Rust: {tokens:?}");
    };
    let text = match super::expand(attribute, item) {
        Ok(_) => "fine".to_owned(),
        Err(error) => {
            let start = error.span().start();
            format!("{}:{}: {error}", start.line, start.column + 1)
        }
    };
    expected.assert_eq(&text);
}

#[test]
fn accepted() {
    for item in [
        "/// Doc.\nfn f() {}",
        "/// Doc.\npub fn f(a: String, mut b: Option<u32>) -> Result<String, Error> { x }",
        "#[doc = \"Doc.\"]\nfn r#match(/// What.\n #[serde(default)] a: Vec<T>) -> Json<T> {}",
    ] {
        check("", item, expect![[r#"fine"#]]);
    }
    check(
        "name = \"find-issues\", title = \"Find issues\", read_only, destructive = false, \
         idempotent = true, open_world, icons = &[Icon::new(\"data:image/png,\")], \
         tasks = \"forbidden\"",
        "/// Doc.\nfn f() {}",
        expect![[r#"fine"#]],
    );
}

#[test]
fn refused_signatures() {
    check(
        "",
        "/// Doc.\nasync fn f() {}",
        expect![
            "2:1: a tool is a plain function: calls into a component are synchronous; remove `async`"
        ],
    );
    check(
        "",
        "/// Doc.\nunsafe fn f() {}",
        expect!["2:1: a tool is a safe function; remove `unsafe`"],
    );
    check(
        "",
        "/// Doc.\nextern \"C\" fn f() {}",
        expect!["2:1: a tool is a plain Rust function; remove `extern`"],
    );
    check(
        "",
        "/// Doc.\nfn f<T>(a: T) {}",
        expect!["2:5: a tool can't be generic: its schema needs concrete types"],
    );
    check(
        "",
        "/// Doc.\nfn f<'a>(a: Cow<'a, str>) {}",
        expect!["2:5: a tool can't be generic: its schema needs concrete types"],
    );
    check(
        "",
        "/// Doc.\nfn f() where u8: Copy {}",
        expect!["2:8: a tool can't be generic; remove the `where` clause"],
    );
    check(
        "",
        "/// Doc.\nfn f(&self, a: u8) {}",
        expect![
            "2:6: a tool is a free function: it has no `self`; state within a call goes into local variables"
        ],
    );
    check(
        "",
        "/// Doc.\nfn f(a: u8, (b, c): (u8, u8)) {}",
        expect![
            "2:13: a parameter of a tool needs a plain name: it becomes a member of the arguments; take it apart in the body"
        ],
    );
    check(
        "",
        "/// Doc.\nfn f(_: u8) {}",
        expect![
            "2:6: a parameter of a tool needs a plain name: it becomes a member of the arguments; take it apart in the body"
        ],
    );
    check(
        "",
        "/// Doc.\nfn f(a: &str) {}",
        expect![
            "2:9: a tool owns its arguments: take `String` for `&str`, `Vec<T>` for `&[T]`, `T` for `&T`"
        ],
    );
    check(
        "",
        "/// Doc.\nfn f(a: impl Display) {}",
        expect!["2:9: a tool can't be generic: its schema needs concrete types"],
    );
    check(
        "",
        "/// Doc.\nfn f() -> impl Display {}",
        expect![
            "2:11: a tool returns a concrete type: `String`, `Json<T>`, `Content`, `Outcome`, or a `Result` of one of them"
        ],
    );
    check(
        "",
        "fn f(a: u8) {}",
        expect![
            "1:4: a tool needs a doc comment (`/// …`): it is the description from which a model learns what the tool does and when to use it"
        ],
    );
    check(
        "",
        "///\n///  \nfn f(a: u8) {}",
        expect![
            "3:4: a tool needs a doc comment (`/// …`): it is the description from which a model learns what the tool does and when to use it"
        ],
    );
    check(
        "",
        "/// Doc.\nstruct F;",
        expect!["1:1: #[tool] belongs on a function: expected `fn`"],
    );
    check(
        "",
        "/// Doc.\nfn größe() {}",
        expect![[
            r#"2:4: a tool's name has 1 to 64 of the characters A-Z a-z 0-9 _ . -; set another with #[tool(name = "…")]"#
        ]],
    );
}

#[test]
fn refused_arguments() {
    let item = "/// Doc.\nfn f() {}";
    check(
        "readonly",
        item,
        expect![[
            r#"1:1: unknown argument; a tool takes `name = "…"`, `title = "…"`, `icons = ICONS`, `tasks = "required"`, `panel = "ui://…"`, `read_only`, `destructive`, `idempotent`, `open_world` and `panel_only` (each of the last five also as `= false`)"#
        ]],
    );
    check(
        "tasks = \"never\"",
        item,
        expect![[r#"1:9: tasks are `"forbidden"`, `"optional"` or `"required"`"#]],
    );
    check(
        "read_only = 1",
        item,
        expect!["1:13: expected boolean literal"],
    );
    check("read_only, read_only", item, expect!["1:12: given twice"]);
    check(
        "name = \"find issues\"",
        item,
        expect![[
            r#"1:8: a tool's name has 1 to 64 of the characters A-Z a-z 0-9 _ . -; set another with #[tool(name = "…")]"#
        ]],
    );
    check(
        "name = \"\"",
        item,
        expect![[
            r#"1:8: a tool's name has 1 to 64 of the characters A-Z a-z 0-9 _ . -; set another with #[tool(name = "…")]"#
        ]],
    );
    check("name", item, expect!["1:1: expected `=`"]);
}

#[test]
fn description_is_the_doc_comment_without_its_margin() {
    let function: syn::ItemFn = match syn::parse_str(
        "/// Finds issues.\n///\n/// - by text\n///   or label  \n/** and more */\nfn f() {}",
    ) {
        Ok(function) => function,
        Err(error) => panic!("{error}"),
    };
    expect![[r#"
        Finds issues.

        - by text
          or label
        and more"#]]
    .assert_eq(&super::doc_text(&function.attrs));
}
