;; Imports an interface that no host serves. `answer` never calls it, `ask` does.
(component
  (import "foo:bar/baz@1.0.0" (instance $baz
    (export "ask" (func (result u32)))))
  (core func $ask (canon lower (func $baz "ask")))
  (core module $module
    (import "baz" "ask" (func $ask (result i32)))
    (func (export "ask") (result i32) call $ask)
    (func (export "answer") (result i32) i32.const 42))
  (core instance $instance (instantiate $module
    (with "baz" (instance (export "ask" (func $ask))))))
  (func (export "ask") (result u32) (canon lift (core func $instance "ask")))
  (func (export "answer") (result u32) (canon lift (core func $instance "answer"))))
