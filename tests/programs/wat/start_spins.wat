;; A core start function that never ends: instantiation itself must be bounded.
(component
  (core module $module
    (func $start
      loop
        br 0
      end)
    (start $start)
    (func (export "answer") (result i32) i32.const 42))
  (core instance $instance (instantiate $module))
  (func (export "answer") (result u32) (canon lift (core func $instance "answer"))))
