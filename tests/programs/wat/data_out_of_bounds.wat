;; A data segment outside its memory: instantiation traps.
(component
  (core module $module
    (memory 1)
    (data (i32.const 65536) "x")
    (func (export "answer") (result i32) i32.const 42))
  (core instance $instance (instantiate $module))
  (func (export "answer") (result u32) (canon lift (core func $instance "answer"))))
