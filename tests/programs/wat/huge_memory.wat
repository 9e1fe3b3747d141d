;; A memory of 4 GiB from the start.
(component
  (core module $module
    (memory 65536)
    (func (export "pages") (result i32)
      memory.size))
  (core instance $instance (instantiate $module))
  (func (export "pages") (result u32) (canon lift (core func $instance "pages"))))
