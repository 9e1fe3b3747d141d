;; A core start function that traps.
(component
  (core module $module
    (func $start unreachable)
    (start $start)
    (func (export "answer") (result i32) i32.const 42))
  (core instance $instance (instantiate $module))
  (func (export "answer") (result u32) (canon lift (core func $instance "answer"))))
