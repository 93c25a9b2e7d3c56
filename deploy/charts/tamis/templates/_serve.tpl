{{/* The program and its flags, as arguments of mpirun or of the leader script. */}}
{{- define "tamis.serveArgs" -}}
{{- $v := .Values -}}
- tamis
- serve
- --config=/etc/tamis/serve.yaml
- {{ printf "--model=%s" (include "tamis.modelPath" .) | quote }}
- {{ printf "--served-model-name=%s" (include "tamis.servedName" .) | quote }}
- --device={{ $v.device }}
- --tensor-parallel-size={{ $v.parallelism.tensor }}
- --host=0.0.0.0
- --port={{ $v.server.grpcPort }}
- --metrics-port={{ $v.server.metricsPort }}
- --heartbeat-file=/tmp/tamis-heartbeat
- --shutdown-timeout={{ $v.shutdown.timeoutSeconds }}
- --startup-timeout={{ mul $v.probes.startup.periodSeconds $v.probes.startup.failureThreshold }}
{{- if $v.server.maxModelLen }}
- --max-model-len={{ int $v.server.maxModelLen }}
{{- end }}
{{- if $v.tls.secretName }}
- --ssl-certfile=/etc/tamis/tls/tls.crt
- --ssl-keyfile=/etc/tamis/tls/tls.key
{{- if $v.tls.clientCa }}
- --ssl-ca-certs=/etc/tamis/tls/ca.crt
{{- end }}
{{- else }}
- --insecure
{{- end }}
{{- if $v.apiKeySecret.name }}
- --api-key-file=/etc/tamis/api-key/key
{{- end }}
{{- range $v.server.extraArgs }}
- {{ . | quote }}
{{- end }}
{{- end }}

{{/* What --config reads: server.config, and selection under the names of its flags. */}}
{{- define "tamis.serveConfig" -}}
{{- $config := dict -}}
{{- range $key, $value := .Values.server.config -}}
{{- /* Helm reads numbers as float64, and would write 1000000 as 1e+06 */ -}}
{{- if and (kindIs "float64" $value) (eq $value (floor $value)) -}}{{- $value = int64 $value -}}{{- end -}}
{{- $_ := set $config $key $value -}}
{{- end -}}
{{- $s := .Values.selection -}}
{{- if $s.filterLayers -}}
{{- $layers := list -}}
{{- range $s.filterLayers -}}{{- $layers = append $layers (toString (int .)) -}}{{- end -}}
{{- $_ := set $config "selection-filter-layers" (join "," $layers) -}}
{{- $_ := set $config "selection-wait-layers" (int $s.waitLayers) -}}
{{- $_ := set $config "selection-min-context" (int $s.minContext) -}}
{{- $n := $s.numSelectedTokens -}}
{{- $_ := set $config "num-selected-tokens" (ternary (int $n) $n (ge (float64 $n) 1.0)) -}}
{{- end -}}
{{- if $config -}}{{- toYaml $config -}}{{- else -}}{}{{- end -}}
{{- end }}

{{/* dict root role: leader, worker or single (a leader without workers) */}}
{{- define "tamis.command" -}}
{{- if eq .role "worker" -}}
command: [/usr/libexec/tamis/worker]
{{- else if eq .role "leader" -}}
command: [/usr/libexec/tamis/leader]
args:
  - {{ include "tamis.ranksPerPod" .root | quote }}
  {{- include "tamis.serveArgs" .root | nindent 2 }}
{{- else -}}
command: [mpirun]
args:
  - --bind-to
  - none
  - --map-by
  - slot:OVERSUBSCRIBE
  - -n
  - {{ include "tamis.ranksPerPod" .root | quote }}
  {{- include "tamis.serveArgs" .root | nindent 2 }}
{{- end -}}
{{- end }}

{{- define "tamis.env" -}}
{{- $v := .Values -}}
- name: HOME
  value: /tmp
- name: TMPDIR
  value: /tmp
- name: OMPI_MCA_btl_vader_single_copy_mechanism
  value: none
{{- /* The image has no ssh, and mpirun looks for it even when it has no other host. */}}
- name: OMPI_MCA_plm_rsh_agent
  value: /bin/false
- name: PRTE_MCA_plm_ssh_agent
  value: /bin/false
{{- if $v.rdma.runAsRoot }}
{{- range $name := list "OMPI_ALLOW_RUN_AS_ROOT" "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM" "PRTE_ALLOW_RUN_AS_ROOT" "PRTE_ALLOW_RUN_AS_ROOT_CONFIRM" }}
- name: {{ $name }}
  value: "1"
{{- end }}
{{- end }}
{{- if eq $v.device "cpu" }}
- name: OMPI_MCA_mpi_yield_when_idle
  value: "1"
{{- end }}
{{- if include "tamis.isLws" . }}
- name: TAMIS_BOOT_PORT
  value: {{ $v.multinode.bootPort | quote }}
- name: TAMIS_STARTUP_TIMEOUT
  value: {{ mul $v.probes.startup.periodSeconds $v.probes.startup.failureThreshold | quote }}
{{- with $v.multinode.interface }}
- name: TAMIS_NETWORK_INTERFACE
  value: {{ . | quote }}
- name: NCCL_SOCKET_IFNAME
  value: {{ printf "=%s" . | quote }}
{{- end }}
{{- end }}
{{- with $v.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}
