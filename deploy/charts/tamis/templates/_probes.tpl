{{/*
dict root role. A server without TLS answers the kubelet's own gRPC probe, which speaks no TLS; with TLS, and in
workers, which have no server, the heartbeat file that the ranks of the pod refresh is looked at.
The probes that restart have a grace period of their own: a job that never formed has nothing to finish.
*/}}
{{- define "tamis.probes" -}}
{{- $v := .root.Values -}}
{{- $grpc := and (ne .role "worker") (not $v.tls.secretName) -}}
{{- $alive := list "/usr/libexec/tamis/alive" "/tmp/tamis-heartbeat" (toString (int $v.probes.heartbeatMaxAgeSeconds)) -}}
startupProbe:
  {{- if $grpc }}
  grpc: {port: {{ $v.server.grpcPort }}, service: startup}
  {{- else }}
  exec: {command: {{ concat $alive (list "serving" "draining") | toJson }}}
  {{- end }}
  periodSeconds: {{ $v.probes.startup.periodSeconds }}
  failureThreshold: {{ $v.probes.startup.failureThreshold }}
  timeoutSeconds: {{ $v.probes.liveness.timeoutSeconds }}
  terminationGracePeriodSeconds: 30
readinessProbe:
  {{- if $grpc }}
  grpc: {port: {{ $v.server.grpcPort }}, service: readiness}
  {{- else }}
  exec: {command: {{ concat $alive (list "serving") | toJson }}}
  {{- end }}
  periodSeconds: {{ $v.probes.readiness.periodSeconds }}
  failureThreshold: {{ $v.probes.readiness.failureThreshold }}
  timeoutSeconds: {{ $v.probes.liveness.timeoutSeconds }}
livenessProbe:
  {{- if $grpc }}
  grpc: {port: {{ $v.server.grpcPort }}, service: liveness}
  {{- else }}
  exec: {command: {{ $alive | toJson }}}
  {{- end }}
  periodSeconds: {{ $v.probes.liveness.periodSeconds }}
  failureThreshold: {{ $v.probes.liveness.failureThreshold }}
  timeoutSeconds: {{ $v.probes.liveness.timeoutSeconds }}
  terminationGracePeriodSeconds: 30
lifecycle:
  preStop:
    exec:
      {{- if eq .role "worker" }}
      command: [/usr/libexec/tamis/drain, worker]
      {{- else }}
      command: [/usr/libexec/tamis/drain, leader, {{ $v.shutdown.delaySeconds | quote }}]
      {{- end }}
{{- end }}
